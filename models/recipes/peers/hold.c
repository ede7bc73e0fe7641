/* Holds a process to a level that its CPU exceeds: CPUID faults, and the answers leave out what
 * the level lacks. HOLD=avx2 leaves out AVX-512, AVX-VNNI and AMX; HOLD=avx-vnni AVX-512 and AMX, as
 * on PCs that have AVX2 and a dot product; HOLD=avx512-vnni AMX and the half-width floats.
 *
 *     cc -O2 -shared -fPIC -o hold.so hold.c && HOLD=avx2 LD_PRELOAD=$PWD/hold.so PROGRAM
 *
 * For Linux on x86-64 CPUs with CPUID faulting (`cpuid_fault` in /proc/cpuinfo); elsewhere the
 * program ends at once rather than run at another level than it says. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_CPUID 0x1012

static int to_avx2, with_vnni;

static void fault(int enabled) { syscall(SYS_arch_prctl, ARCH_CPUID, enabled ? 0 : 1); }

static void answer(int signal_number, siginfo_t *info, void *context) {
    (void)info;
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)r[REG_RIP];
    if (at[0] != 0x0f || at[1] != 0xa2) {
        signal(signal_number, SIG_DFL);
        return;
    }
    unsigned leaf = r[REG_RAX], sub = r[REG_RCX], a, b, c, d;
    fault(0);
    __cpuid_count(leaf, sub, a, b, c, d);
    fault(1);
    if (leaf == 7 && sub == 0) {
        d &= ~(1u << 22 | 1u << 23 | 1u << 24 | 1u << 25); /* AMX and AVX512-FP16 */
        if (to_avx2) {
            /* F, DQ, IFMA, PF, ER, CD, BW, VL; VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
            b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31);
            c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14);
            d &= ~(1u << 2 | 1u << 3 | 1u << 8); /* 4VNNIW, 4FMAPS, VP2INTERSECT */
        }
    } else if (leaf == 7 && sub == 1) {
        a &= ~(1u << 5 | 1u << 21); /* AVX512-BF16, AMX-FP16 */
        if (to_avx2) {
            a &= ~((with_vnni ? 0 : 1u << 4) | 1u << 23); /* AVX-VNNI, AVX-IFMA */
            d &= ~(1u << 4 | 1u << 5 | 1u << 10); /* AVX-VNNI-INT8, AVX-NE-CONVERT, AVX-VNNI-INT16 */
        }
    } else if (leaf == 0xd && sub == 0) {
        a &= ~(3u << 17); /* the state of AMX, and of AVX-512 */
        if (to_avx2)
            a &= ~(7u << 5);
    }
    r[REG_RAX] = a;
    r[REG_RBX] = b;
    r[REG_RCX] = c;
    r[REG_RDX] = d;
    r[REG_RIP] += 2;
}

__attribute__((constructor)) static void hold(void) {
    const char *level = getenv("HOLD");
    struct sigaction action;
    if (level == NULL)
        return;
    with_vnni = strcmp(level, "avx-vnni") == 0;
    to_avx2 = with_vnni || strcmp(level, "avx2") == 0;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, NULL);
    if (syscall(SYS_arch_prctl, ARCH_CPUID, 0) != 0) {
        fputs("this CPU cannot be held: it has no CPUID faulting\n", stderr);
        exit(2);
    }
}
