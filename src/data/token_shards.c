#include "data/token_shards.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The shards of one split. */
typedef struct split_shards {
    int64_t shards;
    int64_t *number; /* [shards] in the manifest; owned */
    int64_t *first;  /* [shards + 1] tokens before each; owned */
} split_shards;

struct mr_token_shards {
    char *folder; /* owned */
    mr_token_manifest manifest;
    char hash[MR_HASH_TEXT];
    int64_t seq_len;
    split_shards split[MR_SPLITS];
    void **map; /* [manifest.shards], NULL where not mapped; owned */
    int64_t
        *mapped;  /* [MR_TOKEN_SHARDS_MAPS] at most: the shards that are mapped, as a ring; owned */
    int64_t maps; /* of them in use */
    int64_t oldest; /* place in mapped of the next to go, once the ring is full */
};

static mr_status shard_path(const mr_token_shards *s, int64_t number, char out[PATH_MAX])
{
    return mr_file_path(out, "%s/%s", s->folder, s->manifest.shard[number].file);
}

static size_t shard_bytes(const mr_token_shards *s, int64_t number)
{
    return (size_t)s->manifest.shard[number].tokens * (size_t)s->manifest.token_bytes;
}

static mr_status check_size(const mr_token_shards *s, int64_t number, const char *path,
                            const struct stat *about)
{
    MR_CHECK(S_ISREG(about->st_mode), MR_ERR_FORMAT, "%s: expected a file of tokens", path);
    MR_CHECK((size_t)about->st_size == shard_bytes(s, number), MR_ERR_FORMAT,
             "%s: expected %zu bytes (%lld tokens), found %lld", path, shard_bytes(s, number),
             (long long)s->manifest.shard[number].tokens, (long long)about->st_size);
    return MR_OK;
}

static mr_status check_sizes(const mr_token_shards *s)
{
    for (int64_t i = 0; i < s->manifest.shards; i++) {
        char path[PATH_MAX];
        struct stat about;
        MR_TRY(shard_path(s, i, path));
        MR_CHECK(stat(path, &about) == 0, MR_ERR_FORMAT, "%s: %s", path, strerror(errno));
        MR_TRY(check_size(s, i, path, &about));
    }
    return MR_OK;
}

/* Lists the shards of a split, and counts the tokens before each. */
static mr_status join_split(const mr_token_shards *s, mr_split split, split_shards *out)
{
    const mr_token_manifest *m = &s->manifest;
    int64_t count = 0;
    for (int64_t i = 0; i < m->shards; i++)
        count += m->shard[i].split == split;
    out->number = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *out->number);
    out->first = mr_alloc_array(MR_MEM_DATA, (size_t)count + 1, sizeof *out->first);
    if (!out->number || !out->first) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < m->shards; i++) {
        if (m->shard[i].split != split) continue;
        int64_t at = out->shards++;
        out->number[at] = i;
        out->first[at + 1] = out->first[at] + m->shard[i].tokens;
    }
    return MR_OK;
}

static mr_status open_folder(const char *folder, mr_token_shards *s)
{
    s->folder = mr_strdup(folder);
    if (!s->folder) return MR_ERR_MEMORY;
    MR_TRY(mr_token_manifest_read(folder, &s->manifest));
    MR_TRY(mr_token_manifest_hash(&s->manifest, s->hash));
    MR_TRY(check_sizes(s));
    for (int split = 0; split < MR_SPLITS; split++)
        MR_TRY(join_split(s, (mr_split)split, &s->split[split]));
    const int64_t shards = s->manifest.shards;
    const int64_t maps = shards < MR_TOKEN_SHARDS_MAPS ? shards : MR_TOKEN_SHARDS_MAPS;
    s->map = mr_alloc_array(MR_MEM_DATA, (size_t)shards, sizeof *s->map);
    s->mapped = mr_alloc_array(MR_MEM_DATA, (size_t)maps, sizeof *s->mapped);
    return s->map && s->mapped ? MR_OK : MR_ERR_MEMORY;
}

mr_status mr_token_shards_open(const char *folder, int64_t seq_len, mr_token_shards **out)
{
    MR_INVARIANT(seq_len > 0);
    *out = NULL;
    mr_token_shards *s = mr_alloc(MR_MEM_DATA, sizeof *s);
    if (!s) return MR_ERR_MEMORY;
    s->seq_len = seq_len;
    mr_status status = open_folder(folder, s);
    if (status == MR_OK)
        *out = s;
    else
        mr_token_shards_close(&s);
    return status;
}

static void unmap_shard(mr_token_shards *s, int64_t number)
{
    munmap(s->map[number], shard_bytes(s, number));
    s->map[number] = NULL;
}

void mr_token_shards_close(mr_token_shards **shards)
{
    mr_token_shards *s = *shards;
    if (!s) return;
    for (int64_t i = 0; i < s->maps; i++)
        unmap_shard(s, s->mapped[i]);
    mr_free(s->mapped);
    mr_free(s->map);
    for (int split = 0; split < MR_SPLITS; split++) {
        mr_free(s->split[split].number);
        mr_free(s->split[split].first);
    }
    mr_token_manifest_free(&s->manifest);
    mr_free(s->folder);
    mr_free(s);
    *shards = NULL;
}

const mr_token_manifest *mr_token_shards_manifest(const mr_token_shards *shards)
{
    return &shards->manifest;
}

const char *mr_token_shards_hash(const mr_token_shards *shards)
{
    return shards->hash;
}

int64_t mr_token_shards_sequences(const mr_token_shards *shards, mr_split split)
{
    const split_shards *in = &shards->split[split];
    return in->first[in->shards] / shards->seq_len;
}

/* A place for one more map. The oldest goes: the order of training is random, so that no shard is
 * likelier than another to be read again soon. To map one again takes some 15 microseconds, little
 * beside the training on a sequence. */
static int64_t *place_of_map(mr_token_shards *s)
{
    if (s->maps < MR_TOKEN_SHARDS_MAPS) return &s->mapped[s->maps++];
    int64_t *place = &s->mapped[s->oldest];
    unmap_shard(s, *place);
    s->oldest = (s->oldest + 1) % MR_TOKEN_SHARDS_MAPS;
    return place;
}

/* Maps a shard; one that is mapped holds a token that is read, so it is not empty. */
static mr_status map_shard(mr_token_shards *s, int64_t number)
{
    char path[PATH_MAX];
    struct stat about;
    if (s->map[number]) return MR_OK;
    MR_TRY(shard_path(s, number, path));
    int handle = open(path, O_RDONLY | O_CLOEXEC);
    MR_CHECK(handle >= 0, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    mr_status status = MR_OK;
    void *map = MAP_FAILED;
    if (fstat(handle, &about) != 0)
        status = mr_fail(MR_ERR_IO, "cannot read '%s': %s", path, strerror(errno));
    else
        status = check_size(s, number, path, &about);
    if (status == MR_OK) {
        map = mmap(NULL, shard_bytes(s, number), PROT_READ, MAP_SHARED, handle, 0);
        if (map == MAP_FAILED)
            status = mr_fail(MR_ERR_IO, "cannot map '%s': %s", path, strerror(errno));
    }
    close(handle);
    if (status != MR_OK) return status;
    *place_of_map(s) = number;
    s->map[number] = map;
    return MR_OK;
}

/* The shard of a split that holds a token: the last that starts at or before it. */
static int64_t find_shard(const split_shards *in, int64_t token)
{
    int64_t low = 0, high = in->shards;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (in->first[middle] <= token)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static mr_status past_vocabulary(const mr_token_shards *s, int64_t number, int64_t token,
                                 uint32_t id)
{
    return mr_fail(MR_ERR_FORMAT, "%s/%s: token %lld is %u, past the vocabulary of %d", s->folder,
                   s->manifest.shard[number].file, (long long)token, id, s->manifest.vocabulary);
}

/* Reads tokens that stand in one shard. */
static mr_status read_part(mr_token_shards *s, int64_t number, int64_t token, int64_t count,
                           int32_t *ids)
{
    MR_TRY(map_shard(s, number));
    const int bytes = s->manifest.token_bytes;
    const unsigned char *from = (const unsigned char *)s->map[number] + token * bytes;
    for (int64_t i = 0; i < count; i++, from += bytes) {
        uint32_t id = (uint32_t)from[0] | (uint32_t)from[1] << 8;
        if (bytes == 4) id |= (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
        if (id >= (uint32_t)s->manifest.vocabulary)
            return past_vocabulary(s, number, token + i, id);
        ids[i] = (int32_t)id;
    }
    return MR_OK;
}

mr_status mr_token_shards_read(mr_token_shards *s, mr_split split, int64_t sequence, int64_t first,
                               int64_t count, int32_t *ids)
{
    const split_shards *in = &s->split[split];
    MR_INVARIANT(sequence >= 0 && sequence < mr_token_shards_sequences(s, split));
    MR_INVARIANT(first >= 0 && count >= 0 && first + count <= s->seq_len);
    int64_t token = sequence * s->seq_len + first;
    for (int64_t at = find_shard(in, token); count > 0; at++) {
        const int64_t left = in->first[at + 1] - token, part = count < left ? count : left;
        if (part == 0) continue; /* a shard without tokens */
        MR_TRY(read_part(s, in->number[at], token - in->first[at], part, ids));
        token += part;
        ids += part;
        count -= part;
    }
    return MR_OK;
}

mr_status mr_token_shards_verify(const mr_token_shards *s)
{
    return mr_token_shards_verify_share(s, 0, 1);
}

mr_status mr_token_shards_verify_share(const mr_token_shards *s, int64_t share, int64_t shares)
{
    MR_INVARIANT(share >= 0 && share < shares);
    for (int64_t i = share; i < s->manifest.shards; i += shares) {
        char path[PATH_MAX], found[MR_HASH_TEXT];
        MR_TRY(shard_path(s, i, path));
        MR_TRY(mr_hash_file(path, found, NULL));
        MR_CHECK(strcmp(found, s->manifest.shard[i].sha256) == 0, MR_ERR_FORMAT,
                 "%s: damaged: its SHA-256 is %s, the manifest says %s", path, found,
                 s->manifest.shard[i].sha256);
    }
    return MR_OK;
}
