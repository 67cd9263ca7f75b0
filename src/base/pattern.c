#define PCRE2_CODE_UNIT_WIDTH 8

#include "base/pattern.h"

#include "base/memory.h"

#include <pcre2.h>
#include <string.h>

/* Bytes of a pattern, steps of a match, KiB that a match may take beside them. */
enum { LONGEST = 4096, STEPS = 1000000, HEAP = 4096 };

struct mr_pattern {
    pcre2_code *code;            /* owned */
    pcre2_match_context *limits; /* owned */
};

static mr_status explain(int code, char problem[MR_PATTERN_PROBLEM])
{
    pcre2_get_error_message(code, (PCRE2_UCHAR *)problem, MR_PATTERN_PROBLEM);
    return code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED ? MR_ERR_MEMORY
                                                                           : MR_ERR_FORMAT;
}

/* Fills pattern with a code that matches as `anchors` say. */
static mr_status compile(const char *text, uint32_t anchors, mr_pattern *pattern,
                         char problem[MR_PATTERN_PROBLEM])
{
    const uint32_t options =
        PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C | anchors;
    pcre2_compile_context *lengths = pcre2_compile_context_create(NULL);
    mr_status status = MR_ERR_MEMORY;
    problem[0] = '\0';
    pattern->limits = pcre2_match_context_create(NULL);
    if (lengths && pattern->limits) {
        int error;
        PCRE2_SIZE at;
        pcre2_set_max_pattern_length(lengths, LONGEST);
        pcre2_set_newline(lengths, PCRE2_NEWLINE_LF);
        pcre2_set_match_limit(pattern->limits, STEPS);
        pcre2_set_heap_limit(pattern->limits, HEAP);
        pattern->code =
            pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, options, &error, &at, lengths);
        status = pattern->code ? MR_OK : explain(error, problem);
    }
    pcre2_compile_context_free(lengths);
    return status;
}

static void release(mr_pattern *pattern)
{
    pcre2_code_free(pattern->code);
    pcre2_match_context_free(pattern->limits);
}

mr_status mr_pattern_create(const char *pattern, mr_pattern **out, char problem[MR_PATTERN_PROBLEM])
{
    problem[0] = '\0';
    *out = mr_alloc(MR_MEM_OTHER, sizeof **out);
    if (!*out) return MR_ERR_MEMORY;
    mr_status status = compile(pattern, 0, *out, problem);
    if (status != MR_OK) mr_pattern_destroy(out);
    return status;
}

void mr_pattern_destroy(mr_pattern **pattern)
{
    if (!*pattern) return;
    release(*pattern);
    mr_free(*pattern);
    *pattern = NULL;
}

int mr_pattern_groups(const mr_pattern *pattern)
{
    uint32_t groups = 0;
    pcre2_pattern_info(pattern->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    return (int)groups;
}

mr_status mr_pattern_search(const mr_pattern *pattern, const char *text, size_t bytes, size_t from,
                            mr_span *spans, bool *found, char problem[MR_PATTERN_PROBLEM])
{
    problem[0] = '\0';
    *found = false;
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(pattern->code, NULL);
    if (!data) return MR_ERR_MEMORY;
    const int result =
        pcre2_match(pattern->code, (PCRE2_SPTR)text, bytes, from, 0, data, pattern->limits);
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(data);
    const size_t start = place[0];
    *found = result >= 0;
    for (int i = 0; *found && spans && i <= mr_pattern_groups(pattern); i++, place += 2) {
        const bool took_part = place[0] != PCRE2_UNSET;
        spans[i] = (mr_span){took_part ? place[0] : start, took_part ? place[1] : start};
    }
    pcre2_match_data_free(data);
    return result >= 0 || result == PCRE2_ERROR_NOMATCH ? MR_OK : explain(result, problem);
}

mr_status mr_pattern_matches(const char *pattern, const char *text, bool *matches,
                             char problem[MR_PATTERN_PROBLEM])
{
    mr_pattern whole = {.code = NULL};
    *matches = false;
    mr_status status = compile(pattern, PCRE2_ANCHORED | PCRE2_ENDANCHORED, &whole, problem);
    if (status == MR_OK)
        status = mr_pattern_search(&whole, text, strlen(text), 0, NULL, matches, problem);
    release(&whole);
    return status;
}
