# SPDX-License-Identifier: Apache-2.0
"""embed.py NAME OUT.c FILE...: makes C source that holds the files, one after the other, as the string NAME."""
import sys


def main():
    name, out, *paths = sys.argv[1:]
    lines = [line for path in paths for line in open(path, encoding="ascii").read().splitlines()]
    with open(out, "w", encoding="ascii") as file:
        # An array of lines would be an array of pointers; ISO C promises string literals of 4095 bytes only.
        text = "\n".join(lines) + "\n"
        file.write(f"extern const char {name}[];\nconst char {name}[] = {{")
        for i, byte in enumerate(text.encode("ascii") + b"\0"):
            file.write(("\n" if i % 24 == 0 else "") + f"{byte},")
        file.write("\n};\n")


if __name__ == "__main__":
    main()
