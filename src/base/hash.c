#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct mr_hash {
    EVP_MD_CTX *context;
};

static void expect(int ok)
{
    if (ok != 1) mr_abort("SHA-256 of libcrypto failed");
}

mr_status mr_hash_create(mr_hash **out)
{
    *out = NULL;
    mr_hash *hash = mr_alloc(MR_MEM_OTHER, sizeof *hash);
    if (!hash) return MR_ERR_MEMORY;
    hash->context = EVP_MD_CTX_new();
    if (!hash->context) {
        mr_free(hash);
        return mr_fail(MR_ERR_MEMORY, "cannot allocate a SHA-256 context");
    }
    expect(EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL));
    *out = hash;
    return MR_OK;
}

void mr_hash_add(mr_hash *hash, const void *data, size_t bytes)
{
    expect(EVP_DigestUpdate(hash->context, data, bytes));
}

void mr_hash_finish(mr_hash **hash, char out[MR_HASH_TEXT])
{
    unsigned char digest[MR_HASH_BYTES];
    expect(EVP_DigestFinal_ex((*hash)->context, digest, NULL));
    for (int i = 0; i < MR_HASH_BYTES; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    mr_hash_destroy(hash);
}

void mr_hash_destroy(mr_hash **hash)
{
    if (!*hash) return;
    EVP_MD_CTX_free((*hash)->context);
    mr_free(*hash);
    *hash = NULL;
}

mr_status mr_hash_bytes(const void *data, size_t bytes, char out[MR_HASH_TEXT])
{
    mr_hash *hash;
    MR_TRY(mr_hash_create(&hash));
    mr_hash_add(hash, data, bytes);
    mr_hash_finish(&hash, out);
    return MR_OK;
}

mr_status mr_hash_handle(int handle, const char *path, char out[MR_HASH_TEXT], int64_t *bytes)
{
    enum { PIECE = 1 << 18 };
    mr_hash *hash = NULL;
    int64_t size = 0;
    char *piece = mr_alloc(MR_MEM_OTHER, PIECE);
    mr_status status = piece ? mr_hash_create(&hash) : MR_ERR_MEMORY;
    while (status == MR_OK) {
        ssize_t count = read(handle, piece, PIECE);
        if (count == 0) break;
        if (count < 0 && errno != EINTR)
            status = mr_fail(MR_ERR_IO, "cannot read '%s': %s", path, strerror(errno));
        if (count < 0) continue;
        mr_hash_add(hash, piece, (size_t)count);
        size += count;
    }
    if (status == MR_OK) mr_hash_finish(&hash, out);
    if (status == MR_OK && bytes) *bytes = size;
    mr_hash_destroy(&hash);
    mr_free(piece);
    return status;
}

mr_status mr_hash_file(const char *path, char out[MR_HASH_TEXT], int64_t *bytes)
{
    int handle = open(path, O_RDONLY | O_CLOEXEC);
    MR_CHECK(handle >= 0, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    mr_status status = mr_hash_handle(handle, path, out, bytes);
    close(handle);
    return status;
}
