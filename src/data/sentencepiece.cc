#include "data/sentencepiece.h"

#include <cstdio>
#include <exception>
#include <new>
#include <sentencepiece_processor.h>
#include <string>
#include <vector>

using sentencepiece::SentencePieceProcessor;

struct mr_sentencepiece {
    SentencePieceProcessor processor;
};

namespace {

const char out_of_memory[] = "out of memory";

/* Runs work and turns whatever comes of it into text. */
template <typename Work> const char *guarded(char *problem, Work work) noexcept
{
    try {
        const sentencepiece::util::Status status = work();
        if (status.ok()) return nullptr;
        /* "file(line) [condition] words": the words are for our user, if there are any. */
        const std::string text = status.error_message();
        const size_t words = text.find("] ");
        std::snprintf(problem, MR_SENTENCEPIECE_PROBLEM, "%s",
                      words == std::string::npos ? text.c_str() : text.c_str() + words + 2);
        if (problem[0] == '\0') return "the library cannot read it";
    } catch (const std::bad_alloc &) {
        return out_of_memory;
    } catch (const std::exception &error) {
        std::snprintf(problem, MR_SENTENCEPIECE_PROBLEM, "%s", error.what());
    } catch (...) {
        return "an unknown exception";
    }
    return problem;
}

} // namespace

const char *mr_sentencepiece_create(const void *model, size_t bytes, mr_sentencepiece **out,
                                    char *problem)
{
    mr_sentencepiece *made = new (std::nothrow) mr_sentencepiece;
    *out = nullptr;
    if (!made) return out_of_memory;
    const char *failure = guarded(problem, [&] {
        return made->processor.LoadFromSerializedProto(
            absl::string_view(static_cast<const char *>(model), bytes));
    });
    if (failure)
        delete made;
    else
        *out = made;
    return failure;
}

void mr_sentencepiece_destroy(mr_sentencepiece **model)
{
    delete *model;
    *model = nullptr;
}

int32_t mr_sentencepiece_size(const mr_sentencepiece *model)
{
    return model->processor.GetPieceSize();
}

void mr_sentencepiece_special(const mr_sentencepiece *model, int32_t *bos, int32_t *eos,
                              int32_t *pad)
{
    *bos = model->processor.bos_id();
    *eos = model->processor.eos_id();
    *pad = model->processor.pad_id();
}

int mr_sentencepiece_has_blank(const mr_sentencepiece *model)
{
    return !model->processor.IsUnknown(model->processor.PieceToId("\xe2\x96\x81"));
}

const char *mr_sentencepiece_encode(const mr_sentencepiece *model, const char *text, size_t bytes,
                                    int32_t *ids, int64_t capacity, int64_t *count, char *problem)
{
    return guarded(problem, [&] {
        std::vector<int> all;
        const auto status = model->processor.Encode(absl::string_view(text, bytes), &all);
        *count = static_cast<int64_t>(all.size());
        const int64_t room = *count < capacity ? *count : capacity;
        for (int64_t i = 0; i < room; i++)
            ids[i] = all[static_cast<size_t>(i)];
        return status;
    });
}

const char *mr_sentencepiece_decode(const mr_sentencepiece *model, const int32_t *ids,
                                    int64_t count, mr_sentencepiece_sink *sink, void *context,
                                    int *sunk, char *problem)
{
    return guarded(problem, [&] {
        std::string text;
        const auto status = model->processor.Decode(std::vector<int>(ids, ids + count), &text);
        *sunk = status.ok() ? sink(context, text.data(), text.size()) : 0;
        return status;
    });
}
