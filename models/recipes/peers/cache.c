// A plugin of qemu-aarch64: instructions of a program, and how many of its loads and stores miss
// a first and a second data cache. Both are set-associative, of 64-byte lines, least recently used
// first out, filled by loads and stores alike; the second sees what the first misses. There is no
// prefetcher, no instruction cache, no translation and no second core.
//
//   qemu-aarch64 -plugin cache.so,l1=32768:2,l2=1048576:16,out=FILE PROGRAM
//
// `size:ways` in bytes. FILE gets one line: instructions, accesses, first misses, second misses.
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Of QEMU's plugin interface, version 1 (Debian ships no header): what is used here.
typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
enum { NO_REGISTERS = 0, LOADS_AND_STORES = 3, ADD_INLINE = 0 };
typedef void (*when_translated)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*when_accessed)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *);
typedef void (*when_ended)(qemu_plugin_id_t, void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, when_translated);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, when_accessed, int, int, void *);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, when_ended, void *);
extern unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { LINE = 6, MOST_WAYS = 16 };

// Lines of a set, the latest used first; line 0 is empty, for nothing is mapped there.
struct cache {
    uint64_t sets, ways, misses;
    uint64_t *lines;
};

static struct cache first, second;
static uint64_t instructions, accesses;
static char out[4096];

static bool make(struct cache *cache, const char *geometry) {
    uint64_t bytes = 0;
    if (sscanf(geometry, "%" SCNu64 ":%" SCNu64, &bytes, &cache->ways) != 2) return false;
    if (cache->ways == 0 || cache->ways > MOST_WAYS) return false;
    cache->sets = (bytes >> LINE) / cache->ways;
    if (cache->sets == 0 || cache->sets & (cache->sets - 1)) return false;
    cache->lines = calloc(cache->sets * cache->ways, sizeof *cache->lines);
    return cache->lines != NULL;
}

// Whether `line` was there; it is the latest used of its set afterwards.
static bool finds(struct cache *cache, uint64_t line) {
    uint64_t *set = cache->lines + (line & (cache->sets - 1)) * cache->ways;
    uint64_t at = 0;
    while (at < cache->ways - 1 && set[at] != line) at++;
    bool found = set[at] == line;
    memmove(set + 1, set, at * sizeof *set);
    set[0] = line;
    cache->misses += !found;
    return found;
}

static void accessed(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *unused) {
    (void)cpu, (void)unused;
    uint64_t last = (address + (1u << qemu_plugin_mem_size_shift(info)) - 1) >> LINE;
    for (uint64_t line = address >> LINE; line <= last; line++) {
        accesses++;
        if (!finds(&first, line)) finds(&second, line);
    }
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD_INLINE, &instructions, 1);
        qemu_plugin_register_vcpu_mem_cb(instruction, accessed, NO_REGISTERS, LOADS_AND_STORES, NULL);
    }
}

static void ended(qemu_plugin_id_t id, void *unused) {
    (void)id, (void)unused;
    FILE *file = fopen(out, "w");
    if (!file) return;
    fprintf(file, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", instructions, accesses,
            first.misses, second.misses);
    fclose(file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(
    qemu_plugin_id_t id, const qemu_info_t *info, int count, char **words) {
    (void)info;
    bool whole = true;
    for (int i = 0; i < count; i++) {
        if (!strncmp(words[i], "l1=", 3)) whole &= make(&first, words[i] + 3);
        else if (!strncmp(words[i], "l2=", 3)) whole &= make(&second, words[i] + 3);
        else if (!strncmp(words[i], "out=", 4)) snprintf(out, sizeof out, "%s", words[i] + 4);
        else whole = false;
    }
    if (!whole || !first.lines || !second.lines || !*out) {
        fprintf(stderr, "cache.c: wants l1=SIZE:WAYS,l2=SIZE:WAYS,out=FILE, sets a power of two\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
