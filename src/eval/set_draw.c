/* Numbers that Python draws: random.Random(seed).sample(range(n), k).
 * Source: Matsumoto and Nishimura 1998, mt19937ar.c; CPython, Lib/random.py. */

#include "eval/set_impl.h"

#include <math.h>

enum { N = 624, M = 397 };

void mr_set_random_start(mr_set_random *r, uint32_t seed)
{
    uint32_t *s = r->state;
    s[0] = 19650218u;
    for (uint32_t i = 1; i < N; i++)
        s[i] = 1812433253u * (s[i - 1] ^ s[i - 1] >> 30) + i;
    /* init_by_array of a key of one word. */
    uint32_t i = 1;
    for (int k = 0; k < N; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1664525u) + seed;
        if (++i < N) continue;
        s[0] = s[N - 1];
        i = 1;
    }
    for (int k = 0; k < N - 1; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1566083941u) - i;
        if (++i < N) continue;
        s[0] = s[N - 1];
        i = 1;
    }
    s[0] = 0x80000000u;
    r->next = N;
}

static void renew(uint32_t *s)
{
    for (int i = 0; i < N; i++) {
        const uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % N] & 0x7fffffffu);
        s[i] = s[(i + M) % N] ^ y >> 1 ^ ((y & 1) ? 0x9908b0dfu : 0);
    }
}

static uint32_t draw(mr_set_random *r)
{
    if (r->next == N) {
        renew(r->state);
        r->next = 0;
    }
    uint32_t y = r->state[r->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

/* A number below n: the top bits of a draw, drawn again while they are too large. */
static int64_t below(mr_set_random *r, int64_t n)
{
    int bits = 0;
    while (n >> bits > 0)
        bits++;
    int64_t number;
    do
        number = draw(r) >> (32 - bits);
    while (number >= n);
    return number;
}

void mr_set_random_sample(mr_set_random *r, int64_t n, int64_t k, int64_t *room, int64_t *out)
{
    /* What Python takes a set for in place of a list, by their sizes in its memory. */
    double set_size = 21;
    if (k > 5) set_size += pow(4, ceil(log((double)k * 3) / log(4)));
    const bool pool = (double)n <= set_size;
    for (int64_t i = 0; i < n; i++)
        room[i] = pool ? i : 0;
    for (int64_t i = 0; i < k; i++) {
        int64_t at = below(r, pool ? n - i : n);
        while (!pool && room[at])
            at = below(r, n);
        out[i] = pool ? room[at] : at;
        room[at] = pool ? room[n - i - 1] : 1;
    }
}
