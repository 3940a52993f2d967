//===- SafeTensorsHeader.cpp - The header of .safetensors -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/io/SafeTensorsHeader.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>
#include <tuple>
#include <unordered_set>

using namespace quern;

namespace {

constexpr uint64_t maxHeaderBytes = 100'000'000;

struct TypeName {
  std::string_view name;
  unsigned bits;
  std::optional<DType> type;
};
const TypeName typeNames[] = {
    {"BOOL", 8, DType::Bool},
    {"F4", 4, std::nullopt},
    {"F6_E2M3", 6, std::nullopt},
    {"F6_E3M2", 6, std::nullopt},
    {"U8", 8, DType::U8},
    {"I8", 8, DType::I8},
    {"F8_E5M2", 8, DType::F8E5M2},
    {"F8_E4M3", 8, DType::F8E4M3},
    {"F8_E8M0", 8, std::nullopt},
    {"F8_E4M3FNUZ", 8, std::nullopt},
    {"F8_E5M2FNUZ", 8, std::nullopt},
    {"I16", 16, std::nullopt},
    {"U16", 16, std::nullopt},
    {"F16", 16, DType::F16},
    {"BF16", 16, DType::BF16},
    {"I32", 32, DType::I32},
    {"U32", 32, std::nullopt},
    {"F32", 32, DType::F32},
    {"F64", 64, std::nullopt},
    {"I64", 64, DType::I64},
    {"U64", 64, std::nullopt},
    {"C64", 64, std::nullopt},
};

const TypeName *findType(std::string_view name) {
  for (const TypeName &type : typeNames)
    if (type.name == name)
      return &type;
  return nullptr;
}

/// Takes the JSON as events, so that duplicate keys are seen and nothing is
/// built for what is not wanted. Each event that does not fit stops the parse.
class Handler : public nlohmann::json_sax<nlohmann::json> {
public:
  SafeTensorsHeader header;
  std::string fault;

  bool null() override { return scalar("null"); }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool number_integer(number_integer_t) override {
    return scalar("a negative number");
  }
  bool number_float(number_float_t, const string_t &) override {
    return scalar("a fraction or a number that does not fit 64 bits");
  }
  bool binary(binary_t &) override { return scalar("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (where != InList)
      return scalar("a number");
    if (value > INT64_MAX)
      return refuse("a number that does not fit 64 bits");
    list->push_back(static_cast<int64_t>(value));
    return true;
  }
  bool string(string_t &value) override {
    if (where == InMetadata) {
      header.metadata.emplace_back(std::move(keyName), std::move(value));
      return true;
    }
    if (where == InTensor && keyName == "dtype") {
      current().type = std::move(value);
      return true;
    }
    return scalar("a text");
  }

  bool start_object(size_t) override {
    if (skipDepth)
      return ++skipDepth, true;
    switch (where) {
    case Outside:
      where = AtTop;
      return true;
    case AtTop:
      keys.clear();
      if (keyName == "__metadata__") {
        where = InMetadata;
      } else {
        header.entries.emplace_back().name = keyName;
        offsets.clear();
        where = InTensor;
      }
      return true;
    case InTensor:
      return skipOrRefuse("an object");
    default:
      return refuse("an object");
    }
  }
  bool end_object() override {
    if (skipDepth)
      return --skipDepth, true;
    if (where == InTensor && !finishTensor())
      return false;
    where = where == AtTop ? Outside : AtTop;
    return true;
  }
  bool start_array(size_t) override {
    if (skipDepth)
      return ++skipDepth, true;
    if (where != InTensor)
      return refuse("a list");
    if (keyName != "shape" && keyName != "data_offsets")
      return skipOrRefuse("a list");
    list = keyName == "shape" ? &current().shape : &offsets;
    where = InList;
    return true;
  }
  bool end_array() override {
    if (skipDepth)
      return --skipDepth, true;
    where = InTensor;
    return true;
  }
  bool key(string_t &name) override {
    if (skipDepth)
      return true;
    keyName = std::move(name);
    std::unordered_set<std::string> &seen = where == AtTop ? topKeys : keys;
    if (!seen.insert(keyName).second) {
      fault = fmt::format("'{}' occurs twice", keyName);
      return false;
    }
    return true;
  }
  bool parse_error(size_t position, const std::string &,
                   const nlohmann::detail::exception &) override {
    fault = fmt::format("its header is not valid JSON at byte {}", position);
    return false;
  }

private:
  enum Where { Outside, AtTop, InMetadata, InTensor, InList };

  SafeTensors::Entry &current() { return header.entries.back(); }

  bool refuse(std::string_view what) {
    fault = where == InTensor || where == InList
                ? fmt::format("tensor '{}' has {} where '{}' is described",
                              current().name, what, keyName)
                : fmt::format("its header has {} at '{}'", what, keyName);
    return false;
  }
  /// Keys of a tensor that we do not know may have any value.
  bool known() const {
    return keyName == "dtype" || keyName == "shape" ||
           keyName == "data_offsets";
  }
  bool scalar(std::string_view what) {
    if (skipDepth || (where == InTensor && !known()))
      return true;
    return refuse(what);
  }
  bool skipOrRefuse(std::string_view what) {
    if (known())
      return refuse(what);
    skipDepth = 1;
    return true;
  }
  bool finishTensor() {
    for (const char *wanted : {"dtype", "shape", "data_offsets"})
      if (!keys.contains(wanted)) {
        fault = fmt::format("tensor '{}' has no {}", current().name, wanted);
        return false;
      }
    if (offsets.size() != 2 || offsets[0] > offsets[1]) {
      fault = fmt::format("the data_offsets of tensor '{}' are not two numbers "
                          "in ascending order",
                          current().name);
      return false;
    }
    current().begin = static_cast<uint64_t>(offsets[0]);
    current().end = static_cast<uint64_t>(offsets[1]);
    return true;
  }

  Where where = Outside;
  std::string keyName;
  std::vector<int64_t> offsets;
  std::vector<int64_t> *list = nullptr;
  std::unordered_set<std::string> topKeys, keys;
  size_t skipDepth = 0;
};

/// Bytes of a tensor; nothing if the product does not fit or the bits are not
/// whole bytes.
std::optional<uint64_t> bytesOf(const SafeTensors::Entry &entry,
                                unsigned bits) {
  uint64_t total = bits;
  if (std::ranges::find(entry.shape, 0) != entry.shape.end())
    return 0;
  for (int64_t extent : entry.shape)
    if (__builtin_mul_overflow(total, static_cast<uint64_t>(extent), &total))
      return std::nullopt;
  if (total % 8)
    return std::nullopt;
  return total / 8;
}

Diagnostic bad(std::string reason) {
  return fail(Errc::InvalidFile,
              "not a valid .safetensors file: " + std::move(reason));
}

} // namespace

std::optional<DType> quern::safeTensorsType(std::string_view name) {
  const TypeName *type = findType(name);
  return type ? type->type : std::nullopt;
}

Result<uint64_t> quern::safeTensorsHeaderBytes(std::span<const std::byte> start,
                                               uint64_t fileBytes) {
  uint64_t headerBytes;
  if (start.size() < sizeof(headerBytes) || fileBytes < sizeof(headerBytes))
    return bad("it is shorter than 8 bytes");
  std::memcpy(&headerBytes, start.data(), sizeof(headerBytes));
  if (headerBytes > maxHeaderBytes)
    return bad(fmt::format("its header has {} bytes, above {}", headerBytes,
                           maxHeaderBytes));
  if (headerBytes > fileBytes - 8)
    return bad(fmt::format("it is truncated: the header has {} bytes, the file "
                           "{}",
                           headerBytes, fileBytes));
  return headerBytes;
}

Result<SafeTensorsHeader> quern::parseSafeTensors(std::string_view json,
                                                  uint64_t fileBytes) {
  if (!json.starts_with('{'))
    return bad("its header does not begin with '{'");

  Handler handler;
  // The library reports by the handler; what may still come is bad_alloc.
  try {
    if (!nlohmann::json::sax_parse(json.begin(), json.end(), &handler))
      return bad(handler.fault.empty() ? "its header is not valid JSON"
                                       : std::move(handler.fault));
  } catch (...) {
    return fail(Errc::OutOfMemory, "no memory for the header of the file");
  }

  SafeTensorsHeader header = std::move(handler.header);
  header.dataOffset = 8 + json.size();
  std::ranges::sort(header.entries, {}, [](const auto &entry) {
    return std::tie(entry.begin, entry.end, entry.name);
  });
  uint64_t size = fileBytes - header.dataOffset, end = 0;
  for (const SafeTensors::Entry &entry : header.entries) {
    const TypeName *type = findType(entry.type);
    if (!type)
      return bad(fmt::format("tensor '{}' has the unknown type '{}'",
                             entry.name, entry.type));
    if (entry.end > size)
      return bad(fmt::format("tensor '{}' ends at byte {} of {} bytes of data",
                             entry.name, entry.end, size));
    if (entry.begin != end)
      return bad(fmt::format("tensor '{}' begins at byte {} of the data, {} "
                             "what ends at {}",
                             entry.name, entry.begin,
                             entry.begin < end ? "inside" : "after a hole to",
                             end));
    std::optional<uint64_t> bytes = bytesOf(entry, type->bits);
    if (bytes != entry.end - entry.begin)
      return bad(fmt::format("tensor '{}' has {} bytes, which its type {} and "
                             "shape do not give",
                             entry.name, entry.end - entry.begin, entry.type));
    end = entry.end;
  }
  if (end != size)
    return bad(fmt::format("{} bytes of data belong to no tensor", size - end));
  return header;
}
