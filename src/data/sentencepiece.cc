#include "data/sentencepiece.h"

#include <cstdio>
#include <exception>
#include <new>
#include <sentencepiece_processor.h>
#include <string>
#include <unordered_map>
#include <vector>

using sentencepiece::SentencePieceProcessor;

using sentencepiece::util::Status;

const char mr_sentencepiece_no_memory[] = "out of memory";

struct mr_sentencepiece {
    SentencePieceProcessor processor;
    bool by_words = false;
    /* Ids of short words, each with the blank before it. */
    mutable std::unordered_map<std::string, std::vector<int>> known;
};

namespace {

/* Runs work and turns whatever comes of it into text. */
template <typename Work> const char *guarded(char *problem, Work work) noexcept
{
    try {
        const Status status = work();
        if (status.ok()) return nullptr;
        /* "file(line) [condition] words": the words are for our user, if there are any. */
        const std::string text = status.error_message();
        const size_t words = text.find("] ");
        std::snprintf(problem, MR_SENTENCEPIECE_PROBLEM, "%s",
                      words == std::string::npos ? text.c_str() : text.c_str() + words + 2);
        if (problem[0] == '\0') return "the library cannot read it";
    } catch (const std::bad_alloc &) {
        return mr_sentencepiece_no_memory;
    } catch (const std::exception &error) {
        std::snprintf(problem, MR_SENTENCEPIECE_PROBLEM, "%s", error.what());
    } catch (...) {
        return "an unknown exception";
    }
    return problem;
}

/* Takes ids: counts all, keeps those there is room for. */
struct id_list {
    int32_t *ids;
    int64_t capacity, count;

    void add(const std::vector<int> &more)
    {
        for (const int id : more) {
            if (count < capacity) ids[count] = id;
            count++;
        }
    }
};

Status encode_whole(const mr_sentencepiece *model, absl::string_view text, id_list &out)
{
    std::vector<int> ids;
    const Status status = model->processor.Encode(text, &ids);
    out.add(ids);
    return status;
}

/* Encodes what follows a blank, and with it that blank, as the library puts one before a text. */
Status encode_word(const mr_sentencepiece *model, absl::string_view word, id_list &out)
{
    const size_t short_bytes = 64, most = 200000;
    if (word.size() >= short_bytes) return encode_whole(model, word, out);
    const std::string key(word.data(), word.size());
    auto place = model->known.find(key);
    if (place == model->known.end()) {
        std::vector<int> ids;
        /* Before no text at all the library puts nothing. */
        if (key.empty()) ids.push_back(model->processor.PieceToId(MR_SENTENCEPIECE_BLANK));
        const Status status = key.empty() ? Status() : model->processor.Encode(word, &ids);
        if (!status.ok()) return status;
        if (model->known.size() >= most) model->known.clear();
        place = model->known.emplace(key, std::move(ids)).first;
    }
    out.add(place->second);
    return Status();
}

/* Cuts before each blank that follows another character; the first word has no blank of its own. */
Status encode_words(const mr_sentencepiece *model, absl::string_view text, id_list &out)
{
    const auto npos = absl::string_view::npos;
    for (size_t at = 0; at < text.size();) {
        const size_t word = text.find_first_not_of(' ', at);
        const size_t end = word == npos ? npos : text.find(' ', word);
        const size_t from = at == 0 ? 0 : at + 1;
        const Status status =
            encode_word(model, text.substr(from, end == npos ? npos : end - from), out);
        if (!status.ok()) return status;
        at = end == npos ? text.size() : end;
    }
    return Status();
}

} // namespace

const char *mr_sentencepiece_create(const void *model, size_t bytes, mr_sentencepiece **out,
                                    char *problem)
{
    mr_sentencepiece *made = new (std::nothrow) mr_sentencepiece;
    *out = nullptr;
    if (!made) return mr_sentencepiece_no_memory;
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

const char *mr_sentencepiece_piece(const mr_sentencepiece *model, int32_t id)
{
    return model->processor.IdToPiece(id).c_str();
}

int mr_sentencepiece_has_piece(const mr_sentencepiece *model, const char *text)
{
    return !model->processor.IsUnknown(model->processor.PieceToId(text));
}

void mr_sentencepiece_set_words(mr_sentencepiece *model, int on)
{
    model->by_words = on != 0;
    if (!model->by_words) model->known.clear();
}

const char *mr_sentencepiece_encode(const mr_sentencepiece *model, const char *text, size_t bytes,
                                    int32_t *ids, int64_t capacity, int64_t *count, char *problem)
{
    return guarded(problem, [&] {
        const absl::string_view all(text, bytes);
        id_list out{ids, capacity, 0};
        /* A mark in the text itself is a blank to the model, but no border here. */
        const bool words =
            model->by_words && all.find(MR_SENTENCEPIECE_BLANK) == absl::string_view::npos;
        const Status status = words ? encode_words(model, all, out) : encode_whole(model, all, out);
        *count = out.count;
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
