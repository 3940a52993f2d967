//===- SafeTensors.cpp - Weights from .safetensors files ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "quern/io.h"
#include "runtime/core/AllocationGuard.h"

#include "runtime/io/FileBytes.h"
#include "runtime/io/SafeTensorsHeader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <unordered_map>

using namespace quern;

struct SafeTensors::State {
  State(FileBytes file, SafeTensorsHeader header, std::string path)
      : file(std::move(file)), header(std::move(header)),
        path(std::move(path)) {
    for (size_t i = 0; i < this->header.entries.size(); ++i)
      index.emplace(this->header.entries[i].name, i);
  }

  FileBytes file;
  SafeTensorsHeader header;
  std::string path;
  std::unordered_map<std::string_view, size_t> index;
  std::mutex mutex;
  /// Aligned copies of tensors that are not aligned in the file.
  std::map<size_t, Tensor> copies;
};

static Diagnostic inFile(Diagnostic diagnostic, const std::string &path) {
  diagnostic.file = path;
  return diagnostic;
}

Result<SafeTensors> SafeTensors::open(const std::string &path) {
  return guardAllocations([&]() -> Result<SafeTensors> {
    Result<FileBytes> file = FileBytes::map(path);
    if (!file)
      return file.error();
    Result<SafeTensorsHeader> header = parseSafeTensors(file->bytes());
    if (!header)
      return inFile(header.error(), path);
    SafeTensors opened;
    opened.state =
        std::make_shared<State>(std::move(*file), std::move(*header), path);
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
                    state->path);
    const Entry &entry = entries()[found->second];
    std::optional<DType> type = safeTensorsType(entry.type);
    if (!type)
      return inFile(fail(Errc::Unsupported,
                         fmt::format("tensor '{}' is of type {}, which is not "
                                     "supported",
                                     name, entry.type)),
                    state->path);
    if (entry.shape.size() > Shape::maxRank)
      return inFile(fail(Errc::Unsupported,
                         fmt::format("tensor '{}' has rank {}, above {}", name,
                                     entry.shape.size(), Shape::maxRank)),
                    state->path);
    const std::byte *data =
        state->file.bytes().data() + state->header.dataOffset + entry.begin;
    TensorView view(*type, Shape(entry.shape), data);
    if (reinterpret_cast<uintptr_t>(data) % byteWidth(*type) == 0)
      return view;

    std::lock_guard lock(state->mutex);
    auto copy = state->copies.find(found->second);
    if (copy == state->copies.end()) {
      Result<Tensor> tensor = Tensor::zeros(*type, view.shape);
      if (!tensor)
        return inFile(tensor.error(), state->path);
      if (tensor->bytes())
        std::memcpy(tensor->data(), data, tensor->bytes());
      copy = state->copies.emplace(found->second, std::move(*tensor)).first;
    }
    view.data = copy->second.data();
    return view;
  });
}

Result<TensorView> SafeTensors::bind(std::string_view name,
                                     std::string_view operand, DType dtype,
                                     const Shape &shape) const {
  return guardAllocations([&]() -> Result<TensorView> {
    Result<TensorView> found = view(name);
    if (!found)
      return found;
    if (found->dtype != dtype || found->shape != shape)
      return inFile(
          fail(Errc::InvalidArgument,
               fmt::format("tensor '{}' is {} {}, but operand '{}' is "
                           "{} {}",
                           name, quern::name(found->dtype),
                           found->shape.print(), operand, quern::name(dtype),
                           shape.print())),
          state->path);
    found->name = operand;
    return found;
  });
}
