#define PCRE2_CODE_UNIT_WIDTH 8

#include "base/pattern.h"

#include "base/memory.h"

#include <pcre2.h>

/* Bytes of a pattern, steps of a match, KiB that a match may take beside them. */
enum { LONGEST = 4096, STEPS = 1000000, HEAP = 4096 };

static mr_status explain(int code, char problem[MR_PATTERN_PROBLEM])
{
    pcre2_get_error_message(code, (PCRE2_UCHAR *)problem, MR_PATTERN_PROBLEM);
    return code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED ? MR_ERR_MEMORY
                                                                           : MR_ERR_FORMAT;
}

static mr_status match(const pcre2_code *code, pcre2_match_context *limits, const char *text,
                       bool *matches, char problem[MR_PATTERN_PROBLEM])
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (!data) return MR_ERR_MEMORY;
    const int result =
        pcre2_match(code, (PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, 0, data, limits);
    pcre2_match_data_free(data);
    *matches = result >= 0;
    return result >= 0 || result == PCRE2_ERROR_NOMATCH ? MR_OK : explain(result, problem);
}

mr_status mr_pattern_matches(const char *pattern, const char *text, bool *matches,
                             char problem[MR_PATTERN_PROBLEM])
{
    pcre2_compile_context *lengths = pcre2_compile_context_create(NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    mr_status status = MR_ERR_MEMORY;
    problem[0] = '\0';
    if (lengths && limits) {
        int error;
        PCRE2_SIZE at;
        pcre2_set_max_pattern_length(lengths, LONGEST);
        pcre2_set_match_limit(limits, STEPS);
        pcre2_set_heap_limit(limits, HEAP);
        pcre2_code *code =
            pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                          PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C,
                          &error, &at, lengths);
        status = code ? match(code, limits, text, matches, problem) : explain(error, problem);
        pcre2_code_free(code);
    }
    pcre2_match_context_free(limits);
    pcre2_compile_context_free(lengths);
    return status;
}
