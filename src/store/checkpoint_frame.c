#include "store/checkpoint_frame.h"

#include "base/file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

/* What HDF5 sees of a frame. */
typedef struct open_frame {
    H5FD_t common; /* HDF5's own, first */
    mr_frame *frame;
    haddr_t end; /* of what HDF5 has allocated */
} open_frame;

/* The part of the property list that brings the frame to open_driver; HDF5 copies it as bytes. */
typedef struct driver_info {
    mr_frame *frame;
} driver_info;

/* HDF5 opens a file twice when it creates one; the second time starts from nothing again. */
static H5FD_t *open_driver(const char *name, unsigned flags, hid_t access, haddr_t largest)
{
    (void)name;
    (void)flags;
    (void)largest;
    const driver_info *info = H5Pget_driver_info(access);
    open_frame *file = mr_alloc(MR_MEM_OTHER, sizeof *file);
    if (!info || !file) {
        mr_free(file);
        return NULL;
    }
    mr_frame_free(info->frame);
    file->frame = info->frame;
    return &file->common;
}

static herr_t close_driver(H5FD_t *common)
{
    open_frame *file = (open_frame *)common;
    file->frame->bytes = (int64_t)file->end;
    mr_free(file);
    return 0;
}

static herr_t query(const H5FD_t *common, unsigned long *flags)
{
    (void)common;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA;
    return 0;
}

static haddr_t get_end(const H5FD_t *common, H5FD_mem_t type)
{
    (void)type;
    return ((const open_frame *)common)->end;
}

static herr_t set_end(H5FD_t *common, H5FD_mem_t type, haddr_t end)
{
    (void)type;
    ((open_frame *)common)->end = end;
    return 0;
}

static mr_frame_page *find_page(const mr_frame *frame, int64_t at)
{
    for (int64_t i = frame->pages; i > 0; i--)
        if (frame->page[i - 1].at == at) return &frame->page[i - 1];
    return NULL;
}

static mr_frame_page *make_page(mr_frame *frame, int64_t at)
{
    if (mr_grow(MR_MEM_OTHER, &frame->page, &frame->room, frame->pages + 1, sizeof *frame->page) !=
        MR_OK)
        return NULL;
    mr_frame_page *page = &frame->page[frame->pages++];
    page->at = at;
    return page;
}

static herr_t read_bytes(H5FD_t *common, H5FD_mem_t type, hid_t transfer, haddr_t from, size_t size,
                         void *out)
{
    (void)type;
    (void)transfer;
    const mr_frame *frame = ((const open_frame *)common)->frame;
    char *to = out;
    int64_t at = (int64_t)from;
    while (size > 0) {
        int64_t within = at % MR_FRAME_PAGE;
        size_t count = (size_t)(MR_FRAME_PAGE - within);
        if (count > size) count = size;
        const mr_frame_page *page = find_page(frame, at - within);
        if (page)
            memcpy(to, page->bytes + within, count);
        else
            memset(to, 0, count);
        to += count;
        at += (int64_t)count;
        size -= count;
    }
    return 0;
}

static herr_t write_bytes(H5FD_t *common, H5FD_mem_t type, hid_t transfer, haddr_t from,
                          size_t size, const void *data)
{
    (void)type;
    (void)transfer;
    mr_frame *frame = ((open_frame *)common)->frame;
    const char *source = data;
    int64_t at = (int64_t)from;
    while (size > 0) {
        int64_t within = at % MR_FRAME_PAGE;
        size_t count = (size_t)(MR_FRAME_PAGE - within);
        if (count > size) count = size;
        mr_frame_page *page = find_page(frame, at - within);
        if (!page) page = make_page(frame, at - within);
        /* Remembered here and not told to HDF5, which would not survive it. */
        if (page)
            memcpy(page->bytes + within, source, count);
        else
            frame->failed = true;
        source += count;
        at += (int64_t)count;
        size -= count;
    }
    return 0;
}

static const H5FD_class_t driver_class = {
#ifdef H5FD_CLASS_VERSION
    .version = H5FD_CLASS_VERSION,
#endif
#if H5_VERSION_GE(1, 13, 0)
    .value = 256, /* from the range for use within one program */
#endif
    .name = "frame",
    .maxaddr = INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(driver_info),
    .open = open_driver,
    .close = close_driver,
    .query = query,
    .get_eoa = get_end,
    .set_eoa = set_end,
    .get_eof = get_end,
    .read = read_bytes,
    .write = write_bytes,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

mr_status mr_frame_create(mr_frame *frame, const char *path, hid_t *driver, hid_t *file)
{
    const driver_info info = {frame};
    mr_status status = MR_OK;
    hid_t access = H5I_INVALID_HID;
    *driver = *file = H5I_INVALID_HID;
    MR_H5(*driver = H5FDregister(&driver_class), MR_ERR_IO, path, "cannot create it");
    MR_H5(access = mr_h5_access(false), MR_ERR_IO, path, "cannot create it");
    MR_H5(H5Pset_driver(access, *driver, &info), MR_ERR_IO, path, "cannot create it");
    MR_H5(*file = H5Fcreate("frame", H5F_ACC_TRUNC, H5P_DEFAULT, access), MR_ERR_IO, path,
          "cannot create it");
cleanup:
    if (access >= 0) H5Pclose(access);
    if (status != MR_OK && *driver >= 0) {
        H5FDunregister(*driver);
        *driver = H5I_INVALID_HID;
    }
    return status;
}

int mr_frame_copy(const mr_frame *frame, int handle)
{
    if (ftruncate(handle, (off_t)frame->bytes) != 0) return errno;
    for (int64_t i = 0; i < frame->pages; i++) {
        const mr_frame_page *page = &frame->page[i];
        int64_t left = frame->bytes - page->at;
        size_t size = left < MR_FRAME_PAGE ? (size_t)(left > 0 ? left : 0) : MR_FRAME_PAGE;
        int failure = mr_file_write_at(handle, page->bytes, size, page->at);
        if (failure != 0) return failure;
    }
    return 0;
}

void mr_frame_free(mr_frame *frame)
{
    mr_free(frame->page);
    *frame = (mr_frame){0};
}
