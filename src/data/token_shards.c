#include "data/token_shards.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The shards of one split. */
typedef struct split_shards {
    int64_t shards;
    int64_t *number; /* [shards] in the manifest; owned */
    int64_t *first;  /* [shards + 1] tokens before each; owned */
} split_shards;

/* The documents of one split. */
typedef struct split_documents {
    mr_token_document *of; /* [count], owned */
    int64_t *first;        /* [count] token of the split that each begins with; owned */
    int64_t count;
} split_documents;

/* What tells that a file has been written to or replaced; 0 where not known. */
typedef struct stamp {
    int64_t modified, changed; /* nanoseconds; the second cannot be set by who writes a file */
} stamp;

struct mr_token_shards {
    char *folder; /* owned */
    mr_token_manifest manifest;
    char hash[MR_HASH_TEXT];
    int64_t seq_len;
    split_shards split[MR_SPLITS];
    split_documents documents[MR_SPLITS]; /* empty until they are loaded */
    stamp *stamp;   /* [manifest.shards], of what was verified or first used; owned */
    int *handle;    /* [manifest.shards], -1 where not open; owned */
    int64_t *place; /* [places] the shards that may be open, -1 where none; owned */
    int64_t places, next;
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

static mr_status differs(const char *path, const char *found, const char *wanted)
{
    return mr_fail(MR_ERR_FORMAT, "%s: damaged: its SHA-256 is %s, the manifest says %s", path,
                   found, wanted);
}

static mr_status check_hash(const char *path, const char *wanted)
{
    char found[MR_HASH_TEXT];
    MR_TRY(mr_hash_file(path, found, NULL));
    return strcmp(found, wanted) == 0 ? MR_OK : differs(path, found, wanted);
}

/* Holds the index of a shard against the manifest: its size, and its content where asked for. */
static mr_status check_index(const mr_token_shards *s, int64_t number, bool content)
{
    const mr_token_manifest_shard *shard = &s->manifest.shard[number];
    char path[PATH_MAX], index[PATH_MAX];
    struct stat about;
    if (s->manifest.version == 1) return MR_OK;
    MR_TRY(shard_path(s, number, path));
    MR_TRY(mr_token_index_path(index, path));
    MR_CHECK(stat(index, &about) == 0, MR_ERR_FORMAT, "%s: %s", index, strerror(errno));
    MR_CHECK(S_ISREG(about.st_mode) &&
                 about.st_size / MR_TOKEN_DOCUMENT_BYTES == shard->documents &&
                 about.st_size % MR_TOKEN_DOCUMENT_BYTES == 0,
             MR_ERR_FORMAT, "%s: expected %lld documents of %d bytes, found %lld bytes", index,
             (long long)shard->documents, MR_TOKEN_DOCUMENT_BYTES, (long long)about.st_size);
    return content ? check_hash(index, shard->index_sha256) : MR_OK;
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

static int64_t count_places(int64_t shards)
{
    enum { SHARE = 8, FEWEST = 2 };
    const long allowed = sysconf(_SC_OPEN_MAX) / SHARE;
    int64_t most = allowed > 0 && allowed < MR_TOKEN_SHARDS_OPEN ? allowed : MR_TOKEN_SHARDS_OPEN;
    if (most < FEWEST) most = FEWEST;
    return shards < most ? shards : most;
}

static mr_status open_folder(const char *folder, mr_token_shards *s)
{
    s->folder = mr_strdup(folder);
    if (!s->folder) return MR_ERR_MEMORY;
    MR_TRY(mr_token_manifest_read(folder, &s->manifest));
    MR_TRY(mr_token_manifest_hash(&s->manifest, false, s->hash));
    for (int split = 0; split < MR_SPLITS; split++)
        MR_TRY(join_split(s, (mr_split)split, &s->split[split]));
    const int64_t shards = s->manifest.shards;
    s->places = count_places(shards);
    s->stamp = mr_alloc_array(MR_MEM_DATA, (size_t)shards, sizeof *s->stamp);
    s->place = mr_alloc_array(MR_MEM_DATA, (size_t)s->places, sizeof *s->place);
    s->handle = mr_alloc_array(MR_MEM_DATA, (size_t)shards, sizeof *s->handle);
    if (!s->stamp || !s->place || !s->handle) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < shards; i++)
        s->handle[i] = -1;
    for (int64_t i = 0; i < s->places; i++)
        s->place[i] = -1;
    return MR_OK;
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

static void close_shard(mr_token_shards *s, int64_t number)
{
    if (number < 0 || s->handle[number] < 0) return;
    close(s->handle[number]);
    s->handle[number] = -1;
}

void mr_token_shards_close(mr_token_shards **shards)
{
    mr_token_shards *s = *shards;
    if (!s) return;
    for (int64_t i = 0; s->place && i < s->places; i++)
        close_shard(s, s->place[i]);
    mr_free(s->place);
    mr_free(s->handle);
    mr_free(s->stamp);
    for (int split = 0; split < MR_SPLITS; split++) {
        mr_free(s->split[split].number);
        mr_free(s->split[split].first);
        mr_free(s->documents[split].of);
        mr_free(s->documents[split].first);
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

static int64_t nanoseconds(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static stamp stamp_of(const struct stat *about)
{
    return (stamp){nanoseconds(about->st_mtim), nanoseconds(about->st_ctim)};
}

/* Whether a file is as it was, as far as that is known. */
static bool same_stamp(stamp then, stamp now)
{
    return then.modified == now.modified && (then.changed == 0 || then.changed == now.changed);
}

/* Compares a shard with the manifest, all of it, and takes its stamp from before. */
static mr_status compare(const mr_token_shards *s, int64_t number, const char *path, stamp *out)
{
    struct stat about;
    MR_CHECK(stat(path, &about) == 0, MR_ERR_FORMAT, "%s: %s", path, strerror(errno));
    MR_TRY(check_size(s, number, path, &about));
    MR_TRY(check_hash(path, s->manifest.shard[number].sha256));
    *out = stamp_of(&about);
    return MR_OK;
}

/* Opens a file, at the price of others where the process has all that it may have. */
static int open_file(mr_token_shards *s, const char *path)
{
    for (int64_t i = 0;; i++) {
        const int handle = open(path, O_RDONLY | O_CLOEXEC);
        const bool full = handle < 0 && (errno == EMFILE || errno == ENFILE);
        if (!full || i == s->places) return handle;
        close_shard(s, s->place[(s->next + i) % s->places]);
    }
}

/* Keeps a shard's handle; the oldest goes: the order of training is random, so that no shard is
 * likelier than another to be read again soon. */
static void keep_handle(mr_token_shards *s, int64_t number, int handle)
{
    close_shard(s, s->place[s->next]);
    s->place[s->next] = number;
    s->handle[number] = handle;
    s->next = (s->next + 1) % s->places;
}

static bool is_known(stamp of)
{
    return of.modified != 0 || of.changed != 0;
}

/* Opens a shard unless it is open, and holds it against what it was. */
static mr_status open_shard(mr_token_shards *s, int64_t number)
{
    char path[PATH_MAX];
    struct stat about;
    stamp *then = &s->stamp[number];
    if (s->handle[number] >= 0) return MR_OK;
    MR_TRY(shard_path(s, number, path));
    const int handle = open_file(s, path);
    MR_CHECK(handle >= 0, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    mr_status status = MR_OK;
    if (fstat(handle, &about) != 0)
        status = mr_fail(MR_ERR_IO, "cannot read '%s': %s", path, strerror(errno));
    else
        status = check_size(s, number, path, &about);
    const stamp now = status == MR_OK ? stamp_of(&about) : *then;
    if (is_known(*then) && !same_stamp(*then, now))
        status = compare(s, number, path, then);
    else
        *then = now;
    if (status == MR_OK)
        keep_handle(s, number, handle);
    else
        close(handle);
    return status;
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

/* Reads bytes of a shard as they are; fewer where the file has become shorter. *same tells whether
 * the shard still was what it is to be when they had been read. */
static mr_status read_bytes(const mr_token_shards *s, int64_t number, void *to, size_t bytes,
                            int64_t offset, bool *same)
{
    const int handle = s->handle[number];
    struct stat about;
    size_t got = 0;
    while (got < bytes) {
        const ssize_t count =
            pread(handle, (char *)to + got, bytes - got, (off_t)offset + (off_t)got);
        if (count < 0 && errno == EINTR) continue;
        MR_CHECK(count >= 0, MR_ERR_IO, "cannot read '%s/%s': %s", s->folder,
                 s->manifest.shard[number].file, strerror(errno));
        if (count == 0) break;
        got += (size_t)count;
    }
    *same = got == bytes && fstat(handle, &about) == 0 &&
            same_stamp(s->stamp[number], stamp_of(&about));
    return MR_OK;
}

/* As read_bytes; a shard that has changed is opened anew, which compares all of it. */
static mr_status read_shard(mr_token_shards *s, int64_t number, void *to, size_t bytes,
                            int64_t offset)
{
    enum { ATTEMPTS = 5 };
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        const bool known = is_known(s->stamp[number]);
        bool same = false;
        mr_status status = open_shard(s, number);
        if (status != MR_OK && known)
            return mr_fail_in(status, "'%s' has changed since it was first read", s->folder);
        MR_TRY(status);
        MR_TRY(read_bytes(s, number, to, bytes, offset, &same));
        if (same) return MR_OK;
        close_shard(s, number);
    }
    return mr_fail(MR_ERR_FORMAT, "%s/%s: changes all the time", s->folder,
                   s->manifest.shard[number].file);
}

/* Reads tokens that stand in one shard: into the end of ids, from where they spread to its start.
 * @param learned  [count] which of them are; may be NULL */
static mr_status read_part(mr_token_shards *s, int64_t number, int64_t token, int64_t count,
                           int32_t *ids, uint8_t *learned)
{
    const int64_t size = s->manifest.token_bytes;
    const bool marked = s->manifest.marked;
    const uint32_t mark = marked ? UINT32_C(1) << (8 * size - 1) : 0;
    unsigned char *from = (unsigned char *)(ids + count) - count * size;
    MR_TRY(read_shard(s, number, from, (size_t)(count * size), token * size));
    for (int64_t i = 0; i < count; i++, from += size) {
        uint32_t id = (uint32_t)from[0] | (uint32_t)from[1] << 8;
        if (size == 4) id |= (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
        if (learned) learned[i] = !marked || (id & mark) != 0;
        id &= ~mark;
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
        MR_TRY(read_part(s, in->number[at], token - in->first[at], part, ids, NULL));
        token += part;
        ids += part;
        count -= part;
    }
    return MR_OK;
}

static uint32_t little_endian(const unsigned char *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

static bool is_sound(mr_token_document d)
{
    if (d.tokens == 0 || d.learned > d.tokens) return false;
    if (d.learned == 0) return d.first_learned == d.tokens && d.behind_learned == 0;
    return d.behind_learned <= d.tokens && d.first_learned < d.behind_learned &&
           d.behind_learned - d.first_learned >= d.learned;
}

/* Adds the documents of a shard to those of its split; from has what its index holds. */
static mr_status take_documents(const mr_token_shards *s, int64_t number, const char *path,
                                const unsigned char *from, int64_t first, split_documents *out)
{
    const mr_token_manifest_shard *shard = &s->manifest.shard[number];
    const int64_t end = first + shard->tokens;
    for (int64_t i = 0; i < shard->documents; i++, from += MR_TOKEN_DOCUMENT_BYTES) {
        const mr_token_document d = {little_endian(from), little_endian(from + 4),
                                     little_endian(from + 8), little_endian(from + 12)};
        MR_CHECK(is_sound(d) && first + d.tokens <= end, MR_ERR_FORMAT,
                 "%s: document %lld: %u tokens, %u of them learned, from %u to before %u, of %lld "
                 "tokens that are left",
                 path, (long long)i, d.tokens, d.learned, d.first_learned, d.behind_learned,
                 (long long)(end - first));
        out->of[out->count] = d;
        out->first[out->count++] = first;
        first += d.tokens;
    }
    MR_CHECK(first == end, MR_ERR_FORMAT, "%s: %lld tokens stand behind the last document", path,
             (long long)(end - first));
    return MR_OK;
}

/* Reads the index of a shard whose first token is number `first` of its split. */
static mr_status load_index(const mr_token_shards *s, int64_t number, int64_t first,
                            split_documents *out)
{
    char path[PATH_MAX], index[PATH_MAX], *bytes = NULL, found[MR_HASH_TEXT];
    size_t size;
    MR_TRY(shard_path(s, number, path));
    MR_TRY(mr_token_index_path(index, path));
    MR_TRY(mr_file_read(index, MR_MEM_OTHER, &bytes, &size));
    mr_status status = mr_hash_bytes(bytes, size, found);
    if (status == MR_OK && strcmp(found, s->manifest.shard[number].index_sha256) != 0)
        status = differs(index, found, s->manifest.shard[number].index_sha256);
    if (status == MR_OK)
        status = take_documents(s, number, index, (const unsigned char *)bytes, first, out);
    mr_free(bytes);
    return status;
}

static mr_status load_split(mr_token_shards *s, mr_split split)
{
    const split_shards *in = &s->split[split];
    split_documents *out = &s->documents[split];
    int64_t count = 0;
    /* The sizes of files first: nothing is allocated on a number's word alone. */
    for (int64_t i = 0; i < in->shards; i++) {
        MR_TRY(check_index(s, in->number[i], false));
        count += s->manifest.shard[in->number[i]].documents;
    }
    out->of = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *out->of);
    out->first = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *out->first);
    if (!out->of || !out->first) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < in->shards; i++)
        MR_TRY(load_index(s, in->number[i], in->first[i], out));
    return MR_OK;
}

mr_status mr_token_shards_load_documents(mr_token_shards *s)
{
    MR_CHECK(s->manifest.version > 1, MR_ERR_FORMAT,
             "'%s' is of version 1, which does not tell where documents end; prepare it again",
             s->folder);
    MR_TRY(mr_token_manifest_hash(&s->manifest, true, s->hash));
    for (int split = 0; split < MR_SPLITS; split++)
        MR_TRY(load_split(s, (mr_split)split));
    return MR_OK;
}

int64_t mr_token_shards_documents(const mr_token_shards *s, mr_split split)
{
    return s->documents[split].count;
}

mr_token_document mr_token_shards_document(const mr_token_shards *s, mr_split split, int64_t index)
{
    MR_INVARIANT(index >= 0 && index < s->documents[split].count);
    return s->documents[split].of[index];
}

mr_status mr_token_shards_read_document(mr_token_shards *s, mr_split split, int64_t index,
                                        int64_t first, int64_t count, int32_t *ids,
                                        uint8_t *learned)
{
    const split_shards *in = &s->split[split];
    const int64_t tokens = mr_token_shards_document(s, split, index).tokens;
    const int64_t token = s->documents[split].first[index] + first;
    MR_INVARIANT(first >= 0 && count >= 0 && first + count <= tokens);
    const int64_t at = find_shard(in, s->documents[split].first[index]);
    return read_part(s, in->number[at], token - in->first[at], count, ids, learned);
}

mr_status mr_token_shards_check(const mr_token_shards *s)
{
    for (int64_t i = 0; i < s->manifest.shards; i++) {
        char path[PATH_MAX];
        struct stat about;
        MR_TRY(shard_path(s, i, path));
        MR_CHECK(stat(path, &about) == 0, MR_ERR_FORMAT, "%s: %s", path, strerror(errno));
        MR_TRY(check_size(s, i, path, &about));
        MR_TRY(check_index(s, i, false));
    }
    return MR_OK;
}

/* Compares this rank's shards; *at is the one that it came to. */
static mr_status compare_own(mr_token_shards *s, const mr_comm *comm, int64_t *at)
{
    for (*at = comm->rank; *at < s->manifest.shards; *at += comm->size) {
        char path[PATH_MAX];
        MR_TRY(shard_path(s, *at, path));
        MR_TRY(compare(s, *at, path, &s->stamp[*at]));
        MR_TRY(check_index(s, *at, true));
    }
    return MR_OK;
}

mr_status mr_token_shards_verify(mr_token_shards *s, const mr_comm *comm)
{
    int64_t at;
    memset(s->stamp, 0, (size_t)s->manifest.shards * sizeof *s->stamp);
    const mr_status status = compare_own(s, comm, &at);
    MR_TRY(mr_comm_agree_first(comm, status, at));
    if (s->manifest.shards > 0)
        mr_comm_sum_i64(comm, &s->stamp[0].modified, 2 * s->manifest.shards);
    /* Copies of one file on several nodes may agree in the first of the times only. */
    for (int64_t i = 0; i < s->manifest.shards; i++)
        if (i % comm->size != comm->rank) s->stamp[i].changed = 0;
    return MR_OK;
}
