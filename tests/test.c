#include "test.h"

static bool peers_wait;

void test_set_peers(bool peers)
{
    peers_wait = peers;
}

void test_must(mr_status status, const char *file, int line)
{
    if (status == MR_OK) return;
    if (peers_wait) mr_abort("%s:%d: %s", file, line, mr_message());
    print_error("%s:%d: %s\n", file, line, mr_message());
    _fail(file, line);
}
