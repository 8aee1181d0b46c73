#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tables of a document from the results that bench/gpu.py, bench/run.py, skv bench or skv demo left.

Where a Markdown file has

    <!-- table KIND RESULTS.json ... -->
    <!-- end -->

the lines between are made from the files, which are named from the document's folder. With --check nothing is written:
the exit status is 1 where a table is not what its files say."""
import argparse
import json
import pathlib
import re
import sys

MARKED = re.compile(r"(<!-- table (?P<kind>\S+) (?P<files>[^>]+?) -->\n)(?P<table>.*?)(?=<!-- end -->)", re.DOTALL)


def attend_results(path):
    """Of each shape; where it was measured twice, the first."""
    results = {}
    for result in json.loads(path.read_text())["results"]:
        if result["op"] == "attend":
            results.setdefault(tuple(result["shape"]), result)
    return results


def over_dense(result):
    return [entry["over_dense"] for entry in result["kept"].values()]


def of_read(result):
    return [result["milliseconds"][f"read {kept}"] / result["milliseconds"][kept] for kept in result["kept"]]


def both(numbers, form):
    return " / ".join(form.format(x) for x in numbers)


def row(*cells):
    return "| " + " | ".join(cells) + " |\n"


def head(*cells):
    return row(*cells) + "|" + "---|" * len(cells) + "\n"


def shapes(stream, graph):
    """Each shape's speed beside dense attention and beside a read."""
    text = head("B, Hq, Hkv, T", "over dense, k=40 / 64", "us", "of a plain read", "as a graph, over dense")
    in_graphs = attend_results(graph)
    for shape, result in attend_results(stream).items():
        if shape in in_graphs:
            times = [result["milliseconds"][kept] * 1e3 for kept in result["kept"]]
            text += row(", ".join(map(str, shape[:4])), both(over_dense(result), "{:.2f}x"), both(times, "{:.1f}"),
                        both(of_read(result), "{:.0%}"), both(over_dense(in_graphs[shape]), "{:.2f}x"))
    return text


def groups(stream):
    """Shapes that differ in head_dim and query rows alone."""
    text = head("head_dim", "group", "over dense, 31 / 50 % kept", "of a plain read")
    for shape, result in sorted(attend_results(stream).items(), key=lambda x: (x[0][4], x[0][1])):
        if shape[0] == 8 and shape[2:4] == (8, 16384):
            text += row(str(shape[4]), str(shape[1] // shape[2]), both(over_dense(result), "{:.2f}x"),
                        both(of_read(result), "{:.0%}"))
    return text


def small(graph):
    """Sequences down, tokens across."""
    results = {shape: result for shape, result in attend_results(graph).items() if shape[1:3] == (32, 8)}
    tokens = sorted({shape[3] for shape in results} & {512, 2048, 8192, 32768})
    text = head("sequences", *map(str, tokens))
    for n_seqs in (1, 8, 32):
        text += row(str(n_seqs), *(both(over_dense(results[(n_seqs, 32, 8, n, 128)]), "{:.2f}x") for n in tokens))
    return text


def rows(stream):
    """Compression and decompression."""
    text = head("kept of 128", "compress, of a copy", "append of 32 tokens x 8 heads", "decompress, of a copy")
    for result in json.loads(stream.read_text())["results"]:
        if result["op"] == "compress":
            copy = result["copy_gigabytes_per_second"]
            text += row(str(result["kept"]), f"{result['gigabytes_per_second'] / copy:.0%}",
                        f"{result['milliseconds']['append'] * 1e3:.1f} us",
                        f"{result['decompress_gigabytes_per_second'] / copy:.0%}")
    return text


def reports(path):
    """Those of a file of skv bench, or of several that bench/report.py or bench/run.py joined."""
    found = json.loads(path.read_text())
    return [entry["report"] for entry in found["files"]] if "files" in found else [found]


def medians(report, op, measure):
    """By shape, threads and variant, then by type and kept channels; rows of the dtypes that the file has."""
    table = {}
    for result in report["results"]:
        if result["op"] == op and measure in result:
            own = table.setdefault((result["shape"], result["threads"], result["variant"]), {})
            own[(result["dtype"], result["kept"])] = result[measure]["median"]
    return table


def pair(values, dtype, form):
    kept = sorted({kept for _, kept in values}, reverse=True)
    found = [values.get((dtype, k)) for k in kept]
    return " / ".join("-" if x is None else form.format(x) for x in found)


def cpu(*files):
    """Attention of CPUs beside skv's own dense one."""
    text = head("machine", "threads", "shape", "fp16, 50 / 31 % kept", "bf16")
    for path in files:
        for report in reports(path):
            if report["device"] != "cpu":
                continue
            for (shape, threads, variant), values in medians(report, "attend", "speed_over_dense").items():
                if len({dtype for dtype, _ in values}) == 2:
                    text += row(report["machine"], f"{threads} ({variant.split(',')[0]})", shape,
                                pair(values, "f16", "{:.2f}x"), pair(values, "bf16", "{:.2f}x"))
    return text


def rivals(path):
    """The first two GPU devices of a file, operation by operation: fp16, in percent of a copy."""
    first, second = [x for x in reports(path) if x["device"].split(":")[0] in ("cuda", "opencl")][:2]
    text = head("operation", "shape", f"{first['device']}, 50 / 31 % kept", second["device"])
    for op, measure in (("attend", "fraction_of_copy"), ("compress", "copy_speed"), ("decompress", "copy_speed")):
        others = {key[0]: values for key, values in medians(second, op, measure).items()}
        for (shape, _, _), values in medians(first, op, measure).items():
            if shape in others:
                text += row(op, shape, pair(values, "f16", "{:.0%}"), pair(others[shape], "f16", "{:.0%}"))
    return text


def demo(path, layer):
    """What skv demo printed, below the command that the first line has: all of it but for other layers."""
    lines = path.read_text().splitlines()[1:]
    others = re.compile(rf"\s+(?!{layer.name}\s)\d+\s")
    return "```\n" + "".join(f"{line}\n" for line in lines if not others.match(line)) + "```\n"


KINDS = {function.__name__: function for function in (shapes, groups, small, rows, cpu, rivals, demo)}


def command_of(path):
    """What made a file; for a joined one that of bench/run.py, which its page tells."""
    if path.suffix == ".txt":
        return path.read_text().splitlines()[0].removeprefix("$ ")
    command = json.loads(path.read_text()).get("command", f"{path.parent.name}/{path.name}")
    return command if isinstance(command, str) else " ".join(command)


def made(path):
    def table(match):
        files = [path.parent / name for name in match["files"].split()]
        if match["kind"] not in KINDS:
            kinds = ", ".join(KINDS)
            raise SystemExit(f"bench/doc_tables.py: {path}: table is {match['kind']}; it must be one of {kinds}")
        source = " and ".join(f"`{command_of(file)}`" for file in files if file.suffix)
        return f"{match[1]}{KINDS[match['kind']](*files)}\nFrom {source}.\n"
    return MARKED.sub(table, path.read_text())


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("documents", nargs="+", type=pathlib.Path, metavar="DOCUMENT.md")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a table is not true")
    args = parser.parse_args(arguments)
    status = 0
    for path in args.documents:
        text = made(path)
        if text != path.read_text():
            if args.check:
                print(f"bench/doc_tables.py: {path}: a table is not what its results say; run this without --check",
                      file=sys.stderr)
                status = 1
            else:
                path.write_text(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
