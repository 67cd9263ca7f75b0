#include "data/packing.h"

#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

enum {
    WORD = 64,  /* bits */
    LEVELS = 5, /* of words of words: 64^5 rooms */
};

/* A set of small numbers, as bits: level 0 has one for each number, and each level above one for
 * each word below that is not zero. Owns its words. */
typedef struct bits {
    uint64_t *word[LEVELS];
    int64_t count[LEVELS]; /* words of a level */
    int levels;
} bits;

static mr_status create_bits(int64_t numbers, bits *out)
{
    *out = (bits){.levels = 0};
    do {
        MR_INVARIANT(out->levels < LEVELS);
        numbers = (numbers + WORD - 1) / WORD;
        uint64_t *words = mr_alloc_array(MR_MEM_OTHER, (size_t)numbers, sizeof *words);
        if (!words) return MR_ERR_MEMORY;
        out->word[out->levels] = words;
        out->count[out->levels++] = numbers;
    } while (numbers > 1);
    return MR_OK;
}

static void free_bits(bits *b)
{
    for (int i = 0; i < b->levels; i++)
        mr_free(b->word[i]);
    b->levels = 0;
}

static void put_in(bits *b, int64_t number)
{
    for (int i = 0; i < b->levels; i++, number /= WORD)
        b->word[i][number / WORD] |= (uint64_t)1 << number % WORD;
}

static void take_out(bits *b, int64_t number)
{
    for (int i = 0; i < b->levels; i++, number /= WORD) {
        b->word[i][number / WORD] &= ~((uint64_t)1 << number % WORD);
        if (b->word[i][number / WORD] != 0) return;
    }
}

/* The least number of the set from a number on, -1 where there is none. */
static int64_t at_least(const bits *b, int64_t number)
{
    for (int i = 0; i < b->levels; i++) {
        if (number / WORD >= b->count[i]) return -1;
        uint64_t rest = b->word[i][number / WORD] & ~(uint64_t)0 << number % WORD;
        if (rest == 0) {
            number = number / WORD + 1;
            continue;
        }
        number = number / WORD * WORD + __builtin_ctzll(rest);
        while (i-- > 0)
            number = number * WORD + __builtin_ctzll(b->word[i][number]);
        return number;
    }
    return -1;
}

/* What planning takes while it lasts. Owns its arrays. */
typedef struct planning {
    const int64_t *length;
    int64_t *order;  /* [samples] their numbers, the longest first, of equals in their order */
    int64_t *row;    /* [samples] of each of order */
    int64_t *newest; /* [row_tokens + 1] the row that came to so much room last, or -1 */
    int64_t *older;  /* [samples] of a row: the one that came to its room before it, or -1 */
    bits open;       /* rooms that a row has */
} planning;

/* By counting. */
static mr_status sort_by_length(planning *p, int64_t samples, int64_t row_tokens)
{
    int64_t *place = mr_alloc_array(MR_MEM_OTHER, (size_t)row_tokens + 1, sizeof *place);
    if (!place) return MR_ERR_MEMORY;
    /* place[l]: samples longer than l. */
    for (int64_t i = 0; i < samples; i++) {
        MR_INVARIANT(p->length[i] >= 1 && p->length[i] <= row_tokens);
        place[p->length[i] - 1]++;
    }
    for (int64_t l = row_tokens - 1; l >= 0; l--)
        place[l] += place[l + 1];
    for (int64_t i = 0; i < samples; i++)
        p->order[place[p->length[i]]++] = i;
    mr_free(place);
    return MR_OK;
}

/* Removes the newest row of a room. */
static int64_t pop(planning *p, int64_t room)
{
    const int64_t row = p->newest[room];
    p->newest[room] = p->older[row];
    if (p->newest[room] < 0) take_out(&p->open, room);
    return row;
}

static void push(planning *p, int64_t room, int64_t row)
{
    p->older[row] = p->newest[room];
    p->newest[room] = row;
    put_in(&p->open, room);
}

/* Gives every sample its row; returns how many rows there are. */
static int64_t give_rows(planning *p, int64_t samples, int64_t row_tokens)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < samples; i++) {
        const int64_t length = p->length[p->order[i]];
        const int64_t found = at_least(&p->open, length);
        const int64_t room = found < 0 ? row_tokens : found;
        p->row[i] = found < 0 ? rows++ : pop(p, room);
        if (room > length) push(p, room - length, p->row[i]);
    }
    return rows;
}

static uint64_t hash_numbers(uint64_t hash, const int64_t *number, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        for (int byte = 0; byte < 8; byte++)
            hash = mr_hash_fnv(hash, &(uint8_t){(uint8_t)((uint64_t)number[i] >> 8 * byte)}, 1);
    return hash;
}

/* Lists the samples row by row. */
static mr_status list_rows(const planning *p, mr_packing *out)
{
    const size_t rows = (size_t)out->rows;
    out->first = mr_alloc_array(MR_MEM_DATA, rows + 1, sizeof *out->first);
    out->sample = mr_alloc_array(MR_MEM_DATA, (size_t)out->samples, sizeof *out->sample);
    int64_t *next = mr_alloc_array(MR_MEM_OTHER, rows + 1, sizeof *next);
    if (!out->first || !out->sample || !next) {
        mr_free(next);
        return MR_ERR_MEMORY;
    }
    for (int64_t i = 0; i < out->samples; i++)
        out->first[p->row[i] + 1]++;
    for (int64_t r = 0; r < out->rows; r++)
        out->first[r + 1] += out->first[r];
    memcpy(next, out->first, (rows + 1) * sizeof *next);
    for (int64_t i = 0; i < out->samples; i++)
        out->sample[next[p->row[i]]++] = p->order[i];
    mr_free(next);
    out->hash = hash_numbers(MR_HASH_FNV, &out->row_tokens, 1);
    out->hash = hash_numbers(out->hash, out->first, out->rows + 1);
    out->hash = hash_numbers(out->hash, out->sample, out->samples);
    return MR_OK;
}

static mr_status plan(planning *p, mr_packing *out)
{
    const size_t samples = (size_t)out->samples, rooms = (size_t)out->row_tokens + 1;
    p->order = mr_alloc_array(MR_MEM_OTHER, samples, sizeof *p->order);
    p->row = mr_alloc_array(MR_MEM_OTHER, samples, sizeof *p->row);
    p->older = mr_alloc_array(MR_MEM_OTHER, samples, sizeof *p->older);
    p->newest = mr_alloc_array(MR_MEM_OTHER, rooms, sizeof *p->newest);
    if (!p->order || !p->row || !p->older || !p->newest) return MR_ERR_MEMORY;
    memset(p->newest, -1, rooms * sizeof *p->newest);
    MR_TRY(create_bits(out->row_tokens + 1, &p->open));
    MR_TRY(sort_by_length(p, out->samples, out->row_tokens));
    out->rows = give_rows(p, out->samples, out->row_tokens);
    return list_rows(p, out);
}

mr_status mr_packing_plan(const int64_t *length, int64_t samples, int64_t row_tokens,
                          mr_packing **out)
{
    *out = NULL;
    MR_INVARIANT(samples >= 0 && row_tokens >= 1);
    mr_packing *packing = mr_alloc(MR_MEM_DATA, sizeof *packing);
    if (!packing) return MR_ERR_MEMORY;
    packing->samples = samples;
    packing->row_tokens = row_tokens;
    planning p = {.length = length};
    mr_status status = plan(&p, packing);
    mr_free(p.order);
    mr_free(p.row);
    mr_free(p.older);
    mr_free(p.newest);
    free_bits(&p.open);
    if (status == MR_OK)
        *out = packing;
    else
        mr_packing_destroy(&packing);
    return status;
}

void mr_packing_destroy(mr_packing **packing)
{
    if (!*packing) return;
    mr_free((*packing)->first);
    mr_free((*packing)->sample);
    mr_free(*packing);
    *packing = NULL;
}
