//===- SafeTensors.cpp - Weights from .safetensors files ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "quern/io.h"
#include "runtime/core/AllocationGuard.h"

#include "runtime/io/FileReader.h"
#include "runtime/io/SafeTensorsHeader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <unordered_map>

using namespace quern;

struct SafeTensors::State {
  State(FileReader file, SafeTensorsHeader header)
      : file(std::move(file)), header(std::move(header)) {
    for (size_t i = 0; i < this->header.entries.size(); ++i)
      index.emplace(this->header.entries[i].name, i);
  }

  FileReader file;
  SafeTensorsHeader header;
  std::unordered_map<std::string_view, size_t> index;
  std::mutex mutex;
  /// The tensors asked for so far, by their number.
  std::map<size_t, Tensor> tensors;
};

static Diagnostic inFile(Diagnostic diagnostic, const std::string &path) {
  diagnostic.file = path;
  return diagnostic;
}

Result<SafeTensors> SafeTensors::open(const std::string &path) {
  return guardAllocations([&]() -> Result<SafeTensors> {
    Result<FileReader> file = FileReader::open(path);
    if (!file)
      return file.error();
    std::array<std::byte, 8> start;
    std::span<std::byte> whole(start.data(),
                               std::min<uint64_t>(start.size(), file->size()));
    if (Result<void> read = file->read(0, whole); !read)
      return read.error();
    Result<uint64_t> bytes = safeTensorsHeaderBytes(whole, file->size());
    if (!bytes)
      return inFile(bytes.error(), path);
    std::string json(*bytes, '\0');
    if (Result<void> read =
            file->read(start.size(), std::as_writable_bytes(std::span(json)));
        !read)
      return read.error();
    Result<SafeTensorsHeader> header = parseSafeTensors(json, file->size());
    if (!header)
      return inFile(header.error(), path);
    SafeTensors opened;
    opened.state =
        std::make_shared<State>(std::move(*file), std::move(*header));
    return opened;
  });
}

const std::vector<SafeTensors::Entry> &SafeTensors::entries() const {
  return state->header.entries;
}

const std::vector<std::pair<std::string, std::string>> &
SafeTensors::metadata() const {
  return state->header.metadata;
}

/// Names in the file that share most with the one that is not there.
static std::vector<std::string>
similarNames(const std::vector<SafeTensors::Entry> &entries,
             std::string_view name) {
  std::string_view last = name.substr(name.rfind('.') + 1);
  std::vector<std::string> notes;
  for (const SafeTensors::Entry &entry : entries)
    if (entry.name.find(last) != std::string::npos && notes.size() < 5)
      notes.push_back(fmt::format("it has '{}'", entry.name));
  if (notes.empty())
    notes.push_back(fmt::format("it has {} tensors, none with '{}' in its name",
                                entries.size(), last));
  return notes;
}

Result<TensorView> SafeTensors::view(std::string_view name) const {
  return guardAllocations([&]() -> Result<TensorView> {
    auto found = state->index.find(name);
    if (found == state->index.end())
      return inFile(fail(Errc::InvalidArgument,
                         fmt::format("there is no tensor '{}'", name),
                         similarNames(entries(), name)),
                    state->file.path());
    const Entry &entry = entries()[found->second];
    std::optional<DType> type = safeTensorsType(entry.type);
    if (!type)
      return inFile(fail(Errc::Unsupported,
                         fmt::format("tensor '{}' is of type {}, which is not "
                                     "supported",
                                     name, entry.type)),
                    state->file.path());
    if (entry.shape.size() > Shape::maxRank)
      return inFile(fail(Errc::Unsupported,
                         fmt::format("tensor '{}' has rank {}, above {}", name,
                                     entry.shape.size(), Shape::maxRank)),
                    state->file.path());
    std::lock_guard lock(state->mutex);
    auto kept = state->tensors.find(found->second);
    if (kept == state->tensors.end()) {
      Result<Tensor> tensor = Tensor::zeros(*type, Shape(entry.shape));
      if (!tensor)
        return inFile(tensor.error(), state->file.path());
      std::span<std::byte> to(static_cast<std::byte *>(tensor->data()),
                              tensor->bytes());
      if (Result<void> read =
              state->file.read(state->header.dataOffset + entry.begin, to);
          !read)
        return read.error();
      kept = state->tensors.emplace(found->second, std::move(*tensor)).first;
    }
    return TensorView(*type, kept->second.shape(), kept->second.data());
  });
}

/// Files have no type for packed elements and hold their bytes as U8 or I8.
static bool holdsPacked(const TensorView &found, DType dtype, Shape shape) {
  if (!isPacked(dtype) || shape.rank() == 0 ||
      (found.dtype != DType::U8 && found.dtype != DType::I8))
    return false;
  int64_t &row = shape[shape.rank() - 1];
  row = static_cast<int64_t>(rowBytes(dtype, static_cast<uint64_t>(row)));
  return found.shape == shape;
}

Result<TensorView> SafeTensors::bind(std::string_view name,
                                     std::string_view operand, DType dtype,
                                     const Shape &shape) const {
  return guardAllocations([&]() -> Result<TensorView> {
    Result<TensorView> found = view(name);
    if (!found)
      return found;
    if (holdsPacked(*found, dtype, shape))
      found = TensorView(dtype, shape, found->data);
    if (found->dtype != dtype || found->shape != shape)
      return inFile(
          fail(Errc::InvalidArgument,
               fmt::format("tensor '{}' is {} {}, but operand '{}' is "
                           "{} {}",
                           name, quern::name(found->dtype),
                           found->shape.print(), operand, quern::name(dtype),
                           shape.print()),
               isPacked(dtype)
                   ? std::vector<std::string>{"its elements are read from U8 "
                                              "or I8, two to a byte along the "
                                              "last dimension, the first in "
                                              "the low half"}
                   : std::vector<std::string>{}),
          state->file.path());
    found->name = operand;
    return found;
  });
}
