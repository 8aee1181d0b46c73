/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a fuzz target without libFuzzer: on the files named, or for a time on inputs of its own. Before each input is
 * run it is kept in a file, which a crash leaves behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fuzz.h"

#define INPUT_BYTES 1024

static int run_file(const char *path)
{
    static uint8_t input[1 << 20];
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    size_t size = fread(input, 1, sizeof input, file);
    fclose(file);
    LLVMFuzzerTestOneInput(input, size);
    return 0;
}

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A fresh input, or one with a few bytes changed. */
static size_t mutate(uint8_t *input, size_t size, uint64_t *state)
{
    if (size == 0 || next(state) % 4 == 0) {
        size = next(state) % INPUT_BYTES;
        for (size_t i = 0; i < size; i++)
            input[i] = (uint8_t)(next(state) >> 32);
        return size;
    }
    for (uint64_t n = next(state) % 8 + 1; n > 0; n--) {
        static const uint8_t telling[] = {0, 1, 7, 8, 0x7f, 0x80, 0xfe, 0xff};
        uint64_t choice = next(state);
        input[choice % size] = choice >> 60 & 1 ? telling[choice >> 32 & 7] : (uint8_t)(choice >> 40);
    }
    return size;
}

int main(int argc, char **argv)
{
    double seconds = 5;
    uint64_t seed = 1, n_runs = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = atof(argv[++i]);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 0);
        else if (run_file(argv[i]) != 0)
            return 2;
        else
            seconds = 0;
    }
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
    char path[256];
    snprintf(path, sizeof path, "%s.last-input", name);
    FILE *kept = fopen(path, "wb");
    uint8_t input[INPUT_BYTES];
    size_t size = 0;
    uint64_t state = seed * 0x9e3779b97f4a7c15u | 1;
    for (time_t end = time(NULL) + (time_t)seconds; time(NULL) < end; n_runs++) {
        size = mutate(input, size, &state);
        if (kept) {
            rewind(kept);
            fwrite(input, 1, size, kept);
            fflush(kept);
        }
        LLVMFuzzerTestOneInput(input, size);
    }
    if (kept)
        fclose(kept);
    remove(path);
    printf("%s: %llu inputs, seed %llu, no fault\n", name, (unsigned long long)n_runs, (unsigned long long)seed);
    return 0;
}
