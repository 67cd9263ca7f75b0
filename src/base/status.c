#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char message_record[MR_MESSAGE_MAX];
static void (*abort_handler)(const char *message);

mr_status mr_fail(mr_status code, const char *fmt, ...)
{
    /* Formatted aside first: an argument may be the recorded message itself. */
    char text[MR_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    memcpy(message_record, text, sizeof text);
    return code;
}

mr_status mr_fail_in(mr_status code, const char *fmt, ...)
{
    char prefix[MR_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, args);
    va_end(args);
    return mr_fail(code, "%s: %s", prefix, message_record);
}

const char *mr_message(void)
{
    return message_record;
}

const char *mr_status_name(mr_status code)
{
    switch (code) {
    case MR_OK:
        return "ok";
    case MR_ERR_USAGE:
        return "usage";
    case MR_ERR_CONFIG:
        return "config";
    case MR_ERR_ARG:
        return "argument";
    case MR_ERR_IO:
        return "i/o";
    case MR_ERR_FORMAT:
        return "format";
    case MR_ERR_MEMORY:
        return "memory";
    case MR_ERR_NUMERIC:
        return "numeric";
    case MR_ERR_RANKS:
        return "ranks";
    case MR_STOPPED:
        return "stopped";
    }
    return "unknown";
}

void mr_abort_set_handler(void (*handler)(const char *message))
{
    abort_handler = handler;
}

void mr_abort(const char *fmt, ...)
{
    char text[MR_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (abort_handler) abort_handler(text);
    fprintf(stderr, "mora: fatal: %s\n", text);
    abort();
}
