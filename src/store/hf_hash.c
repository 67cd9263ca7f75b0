/* What tells the weights of two folders apart. */

#include "base/log.h"
#include "store/hf_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    PIECE = 1 << 22,                      /* bytes that are hashed by one rank */
    DIGEST = MR_HASH_TEXT - 1,            /* characters of a piece's hash */
    WORDS = DIGEST / (int)sizeof(int64_t) /* the same as numbers, for a sum over ranks */
};

static int64_t pieces_of(const mr_safetensors_entry *entry)
{
    return (mr_safetensors_bytes(entry) + PIECE - 1) / PIECE;
}

/* *filled counts pieces in which a byte is not zero. */
static mr_status hash_piece(const mr_hf_place *at, int64_t index, char *bytes, int64_t *out,
                            int64_t *filled)
{
    int64_t first = index * PIECE, left = mr_safetensors_bytes(at->entry) - first;
    char text[MR_HASH_TEXT];
    mr_hash *hash;
    int64_t count = left < PIECE ? left : PIECE;
    MR_TRY(mr_safetensors_read_raw(at->file, at->entry, first, count, bytes));
    *filled += bytes[0] != 0 || memcmp(bytes, bytes + 1, (size_t)count - 1) != 0;
    MR_TRY(mr_hash_create(&hash));
    mr_hash_add(hash, bytes, (size_t)count);
    mr_hash_finish(&hash, text);
    memcpy(out, text, DIGEST);
    return MR_OK;
}

/* Fills the digests of this rank's pieces, and counts filled ones by tensor; the others stay zero.
 */
static mr_status hash_share(const mr_comm *comm, const mr_hf *weights, const mr_hf_config *arch,
                            int64_t *digests, int64_t *filled)
{
    char *bytes = mr_alloc(MR_MEM_OTHER, PIECE);
    mr_status status = bytes && digests ? MR_OK : MR_ERR_MEMORY;
    int64_t piece = 0;
    for (int64_t i = 0; i < weights->count && status == MR_OK; i++) {
        const mr_hf_place *at = &weights->places[i];
        if (!mr_hf_uses(arch, at->name)) continue;
        for (int64_t p = 0; p < pieces_of(at->entry) && status == MR_OK; p++, piece++)
            if (piece % comm->size == comm->rank)
                status = hash_piece(at, p, bytes, digests + piece * WORDS, filled + i);
    }
    mr_free(bytes);
    return status;
}

static mr_status hash_digests(const mr_hf *weights, const mr_hf_config *arch,
                              const int64_t *digests, char out[MR_HF_HASH])
{
    mr_hash *hash;
    MR_TRY(mr_hash_create(&hash));
    for (int64_t i = 0; i < weights->count; i++) {
        const mr_hf_place *at = &weights->places[i];
        const mr_safetensors_entry *entry = at->entry;
        if (!mr_hf_uses(arch, at->name)) continue;
        const char *dtype = mr_safetensors_dtype_name(entry->dtype);
        mr_hash_add(hash, at->name, strlen(at->name) + 1);
        mr_hash_add(hash, dtype, strlen(dtype) + 1);
        mr_hash_add(hash, entry->shape, (size_t)entry->dims * sizeof *entry->shape);
        int64_t words = pieces_of(entry) * WORDS;
        mr_hash_add(hash, digests, (size_t)words * sizeof *digests);
        digests += words;
    }
    memcpy(out, MR_HF_HASH_TAG, sizeof MR_HF_HASH_TAG - 1);
    mr_hash_finish(&hash, out + sizeof MR_HF_HASH_TAG - 1);
    return MR_OK;
}

/* Warns of tensors of zeros, as files hold them whose fetching was broken off behind their place.
 */
static void warn_of_zeros(const mr_hf *weights, const mr_hf_config *arch, const int64_t *filled)
{
    const char *first = NULL;
    int64_t zeros = 0;
    for (int64_t i = 0; i < weights->count; i++) {
        const mr_hf_place *at = &weights->places[i];
        if (filled[i] > 0 || !mr_hf_uses(arch, at->name)) continue;
        if (!first) first = at->name;
        zeros++;
    }
    if (first)
        mr_warn("model folder '%s': all values of %" PRId64 " of its tensors are zero, the first "
                "%s: was it fetched whole?",
                weights->folder, zeros, first);
}

mr_status mr_hf_hash(const mr_comm *comm, const mr_hf *weights, const mr_hf_config *arch,
                     char out[MR_HF_HASH])
{
    int64_t pieces = 0;
    for (int64_t i = 0; i < weights->count; i++)
        if (mr_hf_uses(arch, weights->places[i].name))
            pieces += pieces_of(weights->places[i].entry);
    const int64_t words = pieces * WORDS, all = words + weights->count;
    int64_t *digests = mr_alloc_array(MR_MEM_OTHER, (size_t)all, sizeof *digests);
    int64_t *filled = digests ? digests + words : NULL;
    mr_status status = mr_comm_agree(comm, hash_share(comm, weights, arch, digests, filled));
    if (status == MR_OK) {
        mr_comm_sum_i64(comm, digests, all);
        warn_of_zeros(weights, arch, filled);
        status = hash_digests(weights, arch, digests, out);
    }
    mr_free(digests);
    return mr_comm_agree(comm, status);
}
