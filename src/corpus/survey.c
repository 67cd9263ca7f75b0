#include "corpus/survey.h"

#include "base/log.h"
#include "base/utf8.h"
#include "corpus/compressed.h"
#include "corpus/documents.h"
#include "corpus/format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* What travels of an input; the path is known to all. */
typedef struct facts {
    int64_t bytes, units;
    struct timespec modified;
    char sha256[MR_HASH_TEXT];
    mr_input_format format;
    bool by_content, compressed, in_one_go;
} facts;

/* Tells whether a name has one of the endings, also before one of compression. */
static bool ends_in(const char *path, const char *const *endings)
{
    size_t stem;
    mr_format_of_name(path, &stem);
    for (size_t e = 0; endings[e]; e++) {
        const size_t tail = strlen(endings[e]);
        if (stem > tail && path[stem - tail - 1] != '/' &&
            strncasecmp(path + stem - tail, endings[e], tail) == 0)
            return true;
    }
    return false;
}

/* What an input is, as far as it can be told without looking into it. */
static mr_status take_name(mr_survey_input *in, const mr_recipe *recipe, mr_input_format format)
{
    const size_t length = strlen(in->path);
    static const char *const json_names[] = {".jsonl",     ".json", ".ndjson",
                                             ".jsonlines", ".jl",   NULL};
    MR_CHECK(mr_utf8_valid(in->path, length) == length, MR_ERR_USAGE,
             "'%s': expected a path in UTF-8, which the manifest can hold", in->path);
    const bool json =
        format > MR_INPUT_TEXT || (format == MR_INPUT_AUTO && ends_in(in->path, json_names));
    in->format = format != MR_INPUT_AUTO ? format : json ? MR_INPUT_JSONL : MR_INPUT_TEXT;
    MR_CHECK(!json || recipe->documents == MR_DOCUMENTS_LINES, MR_ERR_USAGE,
             "'%s': each JSON object is a document; a whole file cannot be one", in->path);
    return MR_OK;
}

static mr_status create_list(const char *const *paths, int count, const mr_recipe *recipe,
                             mr_input_format format, mr_survey *out)
{
    out->input = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *out->input);
    if (!out->input) return MR_ERR_MEMORY;
    out->inputs = count;
    for (int i = 0; i < count; i++) {
        out->input[i].path = paths[i];
        MR_TRY(take_name(&out->input[i], recipe, format));
    }
    return MR_OK;
}

/* Bytes of this rank's inputs read, of all of them. */
typedef struct progress {
    int64_t done, total;
} progress;

static mr_status changed(const mr_survey_input *in, int64_t bytes)
{
    return mr_fail(MR_ERR_IO, "'%s' changed while it was read: %lld bytes, then %lld%s", in->path,
                   (long long)in->bytes, (long long)bytes, bytes > in->bytes ? " or more" : "");
}

/* Hashes a file, and counts the ends of lines in each unit behind lines_before[unit] where that is
 * wanted. */
static mr_status read_through(mr_survey_input *in, int handle, mr_hash *hash, char *piece,
                              int64_t piece_bytes, int64_t unit_bytes, progress *so_far)
{
    int64_t at = 0;
    char before = 0;
    for (;;) {
        /* No piece goes over the border of a unit. */
        int64_t want = piece_bytes, left = unit_bytes - at % unit_bytes;
        ssize_t got = read(handle, piece, (size_t)(want < left ? want : left));
        if (got < 0 && errno == EINTR) continue;
        MR_CHECK(got >= 0, MR_ERR_IO, "cannot read '%s': %s", in->path, strerror(errno));
        if (got == 0) break;
        mr_hash_add(hash, piece, (size_t)got);
        int64_t unit = at / unit_bytes;
        if (unit + 1 < in->units)
            in->lines_before[unit + 1] += mr_lines_count(piece, (size_t)got, before);
        before = piece[got - 1];
        at += got;
        /* What grows as fast as it is read would be read for ever. */
        if (at > in->bytes) break;
        so_far->done += got;
        mr_log_progress("looking at inputs", so_far->done / 1000000, so_far->total / 1000000, "MB");
    }
    if (at != in->bytes) return changed(in, at);
    for (int64_t unit = 1; unit < in->units; unit++)
        in->lines_before[unit] += in->lines_before[unit - 1];
    return MR_OK;
}

static mr_status hash_and_count(mr_survey_input *in, int64_t unit_bytes, progress *so_far)
{
    enum { PIECE = 1 << 18 };
    mr_hash *hash = NULL;
    char *piece = mr_alloc(MR_MEM_DATA, PIECE);
    int handle = open(in->path, O_RDONLY | O_CLOEXEC);
    mr_status status = MR_ERR_MEMORY;
    if (handle < 0) {
        status = mr_fail(MR_ERR_IO, "cannot open '%s': %s", in->path, strerror(errno));
        goto cleanup;
    }
    if (!piece) goto cleanup;
    status = mr_hash_create(&hash);
    if (status != MR_OK) goto cleanup;
    status = read_through(in, handle, hash, piece, PIECE, unit_bytes, so_far);
    mr_hash_finish(&hash, in->sha256);
cleanup:
    if (handle >= 0) close(handle);
    mr_free(piece);
    return status;
}

static mr_status look_at(mr_survey_input *in, const mr_recipe *recipe, mr_input_format format)
{
    struct stat about;
    MR_CHECK(stat(in->path, &about) == 0, MR_ERR_IO, "cannot open '%s': %s", in->path,
             strerror(errno));
    MR_CHECK(S_ISREG(about.st_mode), MR_ERR_IO, "cannot read '%s': not a regular file", in->path);
    in->bytes = (int64_t)about.st_size;
    in->modified = about.st_mtim;
    MR_TRY(mr_compressed_probe(in->path, &in->compressed));
    if (format == MR_INPUT_AUTO && recipe->documents == MR_DOCUMENTS_LINES) {
        const bool named = in->format != MR_INPUT_TEXT;
        MR_TRY(mr_documents_probe(in->path, in->compressed, named, &in->format));
        in->by_content = !named && in->format != MR_INPUT_TEXT;
    }
    in->in_one_go = in->compressed || in->format == MR_INPUT_JSON;
    const bool one = in->in_one_go || recipe->documents == MR_DOCUMENTS_FILES;
    in->units = one ? 1 : (in->bytes + recipe->unit_bytes - 1) / recipe->unit_bytes;
    in->lines_before = mr_alloc_array(MR_MEM_DATA, (size_t)in->units, sizeof *in->lines_before);
    return in->lines_before ? MR_OK : MR_ERR_MEMORY;
}

static mr_status look_at_own(const mr_comm *comm, const mr_recipe *recipe, mr_input_format format,
                             mr_survey *survey)
{
    progress so_far = {.done = 0};
    mr_status status = MR_OK;
    for (int i = comm->rank; i < survey->inputs; i += comm->size) {
        MR_TRY(look_at(&survey->input[i], recipe, format));
        so_far.total += survey->input[i].bytes;
    }
    for (int i = comm->rank; i < survey->inputs && status == MR_OK; i += comm->size)
        status = hash_and_count(&survey->input[i], recipe->unit_bytes, &so_far);
    mr_log_progress_end();
    return status;
}

static mr_status take_facts(mr_survey_input *in, const facts *from)
{
    in->bytes = from->bytes;
    in->units = from->units;
    in->modified = from->modified;
    in->format = from->format;
    in->in_one_go = from->in_one_go;
    in->by_content = from->by_content;
    in->compressed = from->compressed;
    memcpy(in->sha256, from->sha256, sizeof in->sha256);
    in->lines_before = mr_alloc_array(MR_MEM_DATA, (size_t)in->units, sizeof *in->lines_before);
    return in->lines_before ? MR_OK : MR_ERR_MEMORY;
}

/* What is read in a way that its name does not say is not to be guessed at. */
static void tell_of_json(const mr_survey *survey)
{
    int count = 0, first = 0;
    for (int i = survey->inputs - 1; i >= 0; i--) {
        if (!survey->input[i].by_content) continue;
        count++;
        first = i;
    }
    if (count == 0) return;
    char others[32] = "";
    if (count > 1)
        snprintf(others, sizeof others, " and %d other%s", count - 1, count > 2 ? "s" : "");
    mr_log("'%s'%s: %s by its first bytes; --format text reads plain text",
           survey->input[first].path, others,
           survey->input[first].format == MR_INPUT_JSON ? "a JSON array" : "JSON lines");
}

/* Tells of tables, whose lines are taken as they stand. */
static void tell_of_tables(const mr_survey *survey)
{
    static const char *const tables[] = {".csv", ".tsv", NULL};
    for (int i = 0; i < survey->inputs; i++)
        if (survey->input[i].format == MR_INPUT_TEXT && ends_in(survey->input[i].path, tables))
            mr_warn(
                "'%s' is read as plain text: its cells are not told apart, and its first line is "
                "one like the others",
                survey->input[i].path);
}

mr_status mr_survey_create(const mr_comm *comm, const char *const *paths, int count,
                           const mr_recipe *recipe, mr_input_format format, mr_survey *out)
{
    *out = (mr_survey){.inputs = 0};
    MR_AGREE(comm, create_list(paths, count, recipe, format, out));
    MR_AGREE(comm, look_at_own(comm, recipe, format, out));
    mr_status status = MR_OK;
    for (int i = 0; i < count; i++) {
        mr_survey_input *in = &out->input[i];
        const int owner = i % comm->size;
        facts shared = {.bytes = in->bytes,
                        .units = in->units,
                        .modified = in->modified,
                        .format = in->format,
                        .in_one_go = in->in_one_go,
                        .by_content = in->by_content,
                        .compressed = in->compressed};
        memcpy(shared.sha256, in->sha256, sizeof shared.sha256);
        mr_comm_broadcast(comm, &shared, sizeof shared, owner);
        if (comm->rank != owner && status == MR_OK) status = take_facts(in, &shared);
    }
    MR_AGREE(comm, status);
    for (int i = 0; i < count; i++)
        mr_comm_broadcast(comm, out->input[i].lines_before,
                          (size_t)out->input[i].units * sizeof *out->input[i].lines_before,
                          i % comm->size);
    tell_of_json(out);
    tell_of_tables(out);
    return MR_OK;
}

mr_status mr_survey_check_input(const mr_survey_input *in)
{
    struct stat about;
    char sha256[MR_HASH_TEXT];
    MR_CHECK(stat(in->path, &about) == 0, MR_ERR_IO, "'%s' changed while it was read: %s", in->path,
             strerror(errno));
    if ((int64_t)about.st_size != in->bytes) return changed(in, (int64_t)about.st_size);
    if (about.st_mtim.tv_sec == in->modified.tv_sec &&
        about.st_mtim.tv_nsec == in->modified.tv_nsec)
        return MR_OK;
    MR_TRY(mr_hash_file(in->path, sha256, NULL));
    MR_CHECK(strcmp(sha256, in->sha256) == 0, MR_ERR_IO,
             "'%s' changed while it was read: its SHA-256 was %s, then %s", in->path, in->sha256,
             sha256);
    return MR_OK;
}

static mr_status check_own(const mr_comm *comm, const mr_survey *survey)
{
    for (int i = comm->rank; i < survey->inputs; i += comm->size)
        MR_TRY(mr_survey_check_input(&survey->input[i]));
    return MR_OK;
}

mr_status mr_survey_check(const mr_comm *comm, const mr_survey *survey)
{
    return mr_comm_agree(comm, check_own(comm, survey));
}

void mr_survey_free(mr_survey *survey)
{
    for (int i = 0; i < survey->inputs; i++)
        mr_free(survey->input[i].lines_before);
    mr_free(survey->input);
    *survey = (mr_survey){.inputs = 0};
}
