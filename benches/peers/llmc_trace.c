// llm.c's forward and backward pass (with weight gradients: it has no other) on a random model of GPT-2 124M's shape.
//
//     cc -O3 -march=native -ffast-math -fopenmp -I LLMC_DIR -o llmc_trace llmc_trace.c -lm && ./llmc_trace TOKENS RUNS DIR
//
// LLMC_DIR is a copy of https://github.com/karpathy/llm.c; run.sh compiles this where the variable LLMC_DIR names one. The
// checkpoint that it loads is written to DIR first. Prints one line of JSON.

#define TESTING
#include "train_gpt2.c"
#include <time.h>

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Header of version 3 (vocabulary filled up to a multiple of 128), then every parameter.
static void write_checkpoint(const char *path) {
    int header[256] = {20240326, 3, 1024, 50257, 12, 12, 768, 50304};
    size_t c = 768, l = 12;
    size_t count = (50304 + 1024) * c + l * (12 * c * c + 13 * c) + 2 * c;
    FILE *file = fopen(path, "wb");
    if (file == NULL) { perror(path); exit(1); }
    fwrite(header, sizeof(int), 256, file);
    unsigned state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        float value = ((float)(state >> 8) / (1 << 23) - 1.0f) * 0.03f;
        fwrite(&value, sizeof(float), 1, file);
    }
    fclose(file);
}

int main(int argc, char **argv) {
    if (argc != 4) { fprintf(stderr, "usage: llmc_trace TOKENS RUNS DIR\n"); return 2; }
    int tokens = atoi(argv[1]), runs = atoi(argv[2]);
    char path[4096];
    snprintf(path, sizeof path, "%s/llmc_gpt2_random.bin", argv[3]);
    write_checkpoint(path);
    GPT2 model;
    gpt2_build_from_checkpoint(&model, path);
    remove(path);
    int *inputs = malloc(tokens * sizeof(int)), *targets = malloc(tokens * sizeof(int));
    for (int t = 0; t < tokens; t++) {
        inputs[t] = 7919 * t % 50257;
        targets[t] = 7919 * (t + 1) % 50257;
    }
    double first = 0, *times = malloc(runs * sizeof(double));
    for (int run = -1; run < runs; run++) {
        double start = now_ms();
        gpt2_forward(&model, inputs, targets, 1, tokens);
        gpt2_zero_grad(&model);
        gpt2_backward(&model);
        if (run < 0) first = now_ms() - start; else times[run] = now_ms() - start;
    }
    qsort(times, runs, sizeof(double), ascending);
    printf("{\"name\": \"llm.c forward and backward\", \"length\": %d, \"first_ms\": %.1f, \"median_ms\": %.1f, "
           "\"min_ms\": %.1f, \"runs\": %d}\n", tokens, first, times[runs / 2], times[0], runs);
    return 0;
}
