//===- SimArguments.cpp - What quern sim passes to a kernel ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/SimArguments.h"

#include "compiler/tools/quern/Commands.h"
#include "quern/io.h"
#include "runtime/device/sim/Decoder.h"
#include "runtime/io/FileReader.h"
#include "runtime/io/NpyFormat.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <numbers>
#include <random>

using namespace quern;
using namespace quern::tool;
using sim::ptx::Variable;

static constexpr const char *accepted =
    "accepted are values (i32:5, f32:1.5) and buffers (in:x.npy, "
    "inout:x.npy:y.npy, out:f32[1024]:y.npy, zeros:i32[16], random:f16[64,64])";

uint64_t quern::tool::parameterBytes(const Variable &parameter) {
  return sim::elementBytes(parameter.type) * parameter.elements;
}

std::string quern::tool::describe(const Variable &parameter) {
  std::string text = fmt::format("{} {}", parameter.type, parameter.name);
  if (parameter.elements != 1)
    text += fmt::format("[{}]", parameter.elements);
  return text;
}

namespace {
/// An element type of buffers that tensors do not have.
struct OtherType {
  std::string_view name, npy;
  DType heldAs;
  std::string_view heldNpy;
};
} // namespace
static constexpr OtherType otherTypes[] = {
    {"u16", "<u2", DType::F16, "<f2"}, {"i16", "<i2", DType::F16, "<f2"},
    {"u32", "<u4", DType::I32, "<i4"}, {"u64", "<u8", DType::I64, "<i8"},
    {"f64", "<f8", DType::I64, "<i8"},
};

/// Puts another type of the same length into the header of a .npy file.
static bool renameNpyType(std::span<char> file, std::string_view from,
                          std::string_view to) {
  std::string_view head(file.data(), std::min<size_t>(file.size(), 1024));
  size_t at = head.find("'descr':");
  at = at == std::string_view::npos ? at : head.find(from, at);
  if (at == std::string_view::npos || at > head.find('}'))
    return false;
  std::copy(to.begin(), to.end(), file.begin() + static_cast<ptrdiff_t>(at));
  return true;
}

static bool isNpy(const std::string &path) { return path.ends_with(".npy"); }

namespace {
/// One argument's text on its way to a value or a buffer.
class Parser {
public:
  Parser(const std::string &text, const Variable &parameter, uint64_t seed)
      : parameter(parameter), seed(seed) {
    argument.text = text;
  }

  Result<SimArgument> run();

private:
  Diagnostic refuse(std::string why, std::vector<std::string> notes = {}) {
    return fail(Errc::InvalidArgument,
                fmt::format("--arg {}, for parameter {}: {}", argument.text,
                            describe(parameter), why),
                std::move(notes));
  }
  Result<void> parseBuffer(const std::string &kind, const std::string &rest);
  Result<void> parseFile(const std::string &rest, bool mayWrite);
  Result<void> parseShape(const std::string &kind, std::string rest);
  Result<void> parseOutput(const std::string &path);
  Result<void> parseStruct(const std::string &path);
  Result<void> parseValue(const std::string &type, const std::string &number);
  Result<void> draw();

  const Variable &parameter;
  uint64_t seed;
  SimArgument argument;
};
} // namespace

Result<SimArgument> Parser::run() {
  std::string rest = argument.text;
  argument.name = std::string(parameter.name);
  size_t colon = rest.find(':');
  size_t equals = rest.find('=');
  if (equals != std::string::npos && equals < colon) {
    argument.name = rest.substr(0, equals);
    rest = rest.substr(equals + 1);
    colon = rest.find(':');
  }
  if (colon == std::string::npos)
    return refuse("it has no kind", {accepted});
  std::string kind = rest.substr(0, colon);
  rest = rest.substr(colon + 1);
  Result<void> done;
  if (kind == "in" || kind == "inout" || kind == "out" || kind == "zeros" ||
      kind == "random")
    done = parseBuffer(kind, rest);
  else if (kind == "bytes")
    done = parseStruct(rest);
  else
    done = parseValue(kind, rest);
  if (!done)
    return done.error();
  return std::move(argument);
}

Result<void> Parser::parseBuffer(const std::string &kind,
                                 const std::string &rest) {
  if (parameterBytes(parameter) != 8)
    return refuse(fmt::format("a buffer's address takes 8 bytes, the parameter "
                              "has {}",
                              parameterBytes(parameter)));
  argument.isBuffer = true;
  argument.readOnly = kind == "in";
  if (kind == "in" || kind == "inout")
    return parseFile(rest, kind == "inout");
  return parseShape(kind, rest);
}

Result<void> Parser::parseFile(const std::string &rest, bool mayWrite) {
  size_t colon = mayWrite ? rest.find(':') : std::string::npos;
  std::string path = rest.substr(0, colon);
  if (path.empty())
    return refuse("it names no file");
  if (isNpy(path)) {
    auto file = readFile(path);
    if (!file)
      return file.error();
    for (const OtherType &other : otherTypes)
      if (argument.npyType.empty() &&
          renameNpyType({reinterpret_cast<char *>(file->data()), file->size()},
                        fmt::format("'{}'", other.npy),
                        fmt::format("'{}'", other.heldNpy)))
        argument.npyType = other.npy;
    // readNpy names the file in its errors.
    auto tensor = argument.npyType.empty() ? readNpy(path) : parseNpy(*file);
    if (!tensor)
      return argument.npyType.empty()
                 ? tensor.error()
                 : refuse(fmt::format("{}: {}", path, tensor.error().message));
    argument.contents = std::move(*tensor);
  } else {
    auto bytes = readFile(path);
    if (!bytes)
      return bytes.error();
    auto tensor =
        Tensor::zeros(DType::U8, {static_cast<int64_t>(bytes->size())});
    if (!tensor)
      return tensor.error();
    if (!bytes->empty())
      std::memcpy(tensor->data(), bytes->data(), bytes->size());
    argument.contents = std::move(*tensor);
  }
  return colon == std::string::npos ? Result<void>()
                                    : parseOutput(rest.substr(colon + 1));
}

Result<void> Parser::parseShape(const std::string &kind, std::string rest) {
  size_t open = rest.find('['), close = rest.find(']');
  if (open == std::string::npos || close == std::string::npos || close < open)
    return refuse("a buffer is written TYPE[EXTENT,...]", {accepted});
  std::string element = rest.substr(0, open);
  std::optional<DType> type = parseDType(element);
  for (const OtherType &other : otherTypes)
    if (other.name == element) {
      type = other.heldAs;
      argument.npyType = other.npy;
    }
  if (!type)
    return refuse(fmt::format("unknown element type {}", rest.substr(0, open)),
                  {"accepted are i8, u8, i16, u16, i32, u32, i64, u64, bool, "
                   "f16, bf16, f32, f64, f8e4m3 and f8e5m2"});
  std::vector<int64_t> extents;
  std::string list = rest.substr(open + 1, close - open - 1);
  for (size_t at = 0; at <= list.size();) {
    size_t comma = std::min(list.find(',', at), list.size());
    int64_t extent = 0;
    auto [end, error] =
        std::from_chars(list.data() + at, list.data() + comma, extent);
    if (error != std::errc() || end != list.data() + comma || extent < 0)
      return refuse(
          fmt::format("{} is no extent", list.substr(at, comma - at)));
    extents.push_back(extent);
    at = comma + 1;
  }
  if (extents.size() > Shape::maxRank)
    return refuse(
        fmt::format("rank {} is above {}", extents.size(), Shape::maxRank));
  auto tensor = Tensor::zeros(*type, Shape(extents));
  if (!tensor)
    return refuse(tensor.error().message);
  argument.contents = std::move(*tensor);
  if (kind == "random") {
    if (auto drawn = draw(); !drawn)
      return drawn;
  } else if (kind == "out" && argument.contents.bytes()) {
    std::memset(argument.contents.data(), 0xff, argument.contents.bytes());
  }
  rest = rest.substr(close + 1);
  if (rest.empty())
    return {};
  if (rest.front() != ':')
    return refuse(fmt::format("{} follows the shape; a file is written after "
                              "a colon",
                              rest));
  return parseOutput(rest.substr(1));
}

Result<void> Parser::parseOutput(const std::string &path) {
  if (auto writable = checkWritable(path); !writable)
    return writable;
  DType type = argument.contents.dtype();
  if (isNpy(path) &&
      (type == DType::BF16 || type == DType::F8E4M3 || type == DType::F8E5M2))
    return refuse(fmt::format("the .npy format has no type for {}", name(type)),
                  {"give a file of another name to get the bare bytes"});
  argument.output = path;
  return {};
}

Result<void> Parser::parseStruct(const std::string &path) {
  auto bytes = readFile(path);
  if (!bytes)
    return bytes.error();
  if (bytes->size() != parameterBytes(parameter))
    return refuse(fmt::format("the file has {} bytes, the parameter {}",
                              bytes->size(), parameterBytes(parameter)));
  argument.value = std::move(*bytes);
  return {};
}

/// Draws from the seed and the parameter's name: adding an argument changes no
/// other's values.
Result<void> Parser::draw() {
  std::seed_seq sequence(argument.name.begin(), argument.name.end());
  uint32_t mixed;
  sequence.generate(&mixed, &mixed + 1);
  std::mt19937_64 random(seed ^ (uint64_t{mixed} << 32));
  auto uniform = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  Tensor &tensor = argument.contents;
  auto normal = [&] {
    // Box and Muller, the same on every standard library.
    return std::sqrt(-2 * std::log(1 - uniform())) *
           std::cos(2 * std::numbers::pi * uniform());
  };
  if (!argument.npyType.empty()) {
    auto *to = static_cast<std::byte *>(tensor.data());
    unsigned width = byteWidth(tensor.dtype());
    for (size_t at = 0; at < tensor.bytes(); at += width) {
      uint64_t bits = argument.npyType[1] == 'f'
                          ? std::bit_cast<uint64_t>(normal())
                      : argument.npyType[1] == 'u' ? random() % 101
                                                   : random() % 201 - 100;
      std::memcpy(to + at, &bits, width);
    }
    return {};
  }
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  for (float &value : values) {
    if (isFloat(tensor.dtype()))
      value = static_cast<float>(normal());
    else if (tensor.dtype() == DType::Bool)
      value = static_cast<float>(random() & 1);
    else if (tensor.dtype() == DType::U8)
      value = static_cast<float>(random() % 101);
    else
      value = static_cast<float>(static_cast<int64_t>(random() % 201) - 100);
  }
  auto drawn = Tensor::fromFloats(tensor.dtype(), tensor.shape(), values);
  if (!drawn)
    return drawn.error();
  tensor = std::move(*drawn);
  return {};
}

template <typename T>
static bool storeInteger(const std::string &text, std::vector<std::byte> &to) {
  T value{};
  const char *begin = text.data(), *end = begin + text.size();
  int base = 10;
  if (text.starts_with("0x")) {
    begin += 2;
    base = 16;
  }
  auto [at, error] = std::from_chars(begin, end, value, base);
  if (error != std::errc() || at != end)
    return false;
  to.resize(sizeof(T));
  std::memcpy(to.data(), &value, sizeof(T));
  return true;
}

static bool storeFloat(const std::string &type, const std::string &text,
                       std::vector<std::byte> &to) {
  double value = 0;
  const char *end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || at != end)
    return false;
  float single = static_cast<float>(value);
  if (type == "f64" || type == "f32") {
    to.resize(type == "f64" ? 8 : 4);
    std::memcpy(to.data(),
                type == "f64" ? static_cast<void *>(&value) : &single,
                to.size());
    return true;
  }
  auto tensor = Tensor::fromFloats(*parseDType(type), {1}, {&single, 1});
  if (!tensor)
    return false;
  to.resize(tensor->bytes());
  std::memcpy(to.data(), tensor->data(), to.size());
  return true;
}

Result<void> Parser::parseValue(const std::string &type,
                                const std::string &number) {
  static const struct {
    const char *name;
    bool (*store)(const std::string &, std::vector<std::byte> &);
  } integers[] = {
      {"i8", storeInteger<int8_t>},    {"u8", storeInteger<uint8_t>},
      {"b8", storeInteger<uint8_t>},   {"i16", storeInteger<int16_t>},
      {"u16", storeInteger<uint16_t>}, {"b16", storeInteger<uint16_t>},
      {"i32", storeInteger<int32_t>},  {"s32", storeInteger<int32_t>},
      {"u32", storeInteger<uint32_t>}, {"b32", storeInteger<uint32_t>},
      {"i64", storeInteger<int64_t>},  {"s64", storeInteger<int64_t>},
      {"u64", storeInteger<uint64_t>}, {"b64", storeInteger<uint64_t>},
  };
  bool known = false, stored = false;
  for (const auto &integer : integers)
    if (type == integer.name) {
      known = true;
      stored = integer.store(number, argument.value);
    }
  if (type == "f16" || type == "bf16" || type == "f32" || type == "f64") {
    known = true;
    stored = storeFloat(type, number, argument.value);
  }
  if (!known)
    return refuse(fmt::format("unknown kind {}", type), {accepted});
  if (!stored)
    return refuse(fmt::format("{} is no {}", number, type));
  if (argument.value.size() != parameterBytes(parameter))
    return refuse(fmt::format("{} has {} bytes, the parameter {}", type,
                              argument.value.size(),
                              parameterBytes(parameter)));
  return {};
}

Result<std::vector<SimArgument>>
quern::tool::parseSimArguments(const std::vector<std::string> &texts,
                               const sim::ptx::Function &kernel,
                               uint64_t seed) {
  if (texts.size() != kernel.parameters.size()) {
    std::string list;
    for (const Variable &parameter : kernel.parameters)
      list += (list.empty() ? "" : ", ") + describe(parameter);
    return fail(Errc::InvalidArgument,
                fmt::format("{} takes {}; {} given", kernel.name,
                            countOf(kernel.parameters.size(), "argument"),
                            texts.size()),
                {list.empty() ? std::string("it has no parameters")
                              : "its parameters are " + list,
                 accepted});
  }
  std::vector<SimArgument> arguments;
  for (size_t i = 0; i < texts.size(); ++i) {
    auto argument = Parser(texts[i], kernel.parameters[i], seed).run();
    if (!argument)
      return argument.error();
    for (const SimArgument &other : arguments)
      if (!argument->output.empty() && !other.output.empty() &&
          placeOf(argument->output) == placeOf(other.output))
        return fail(
            Errc::InvalidArgument,
            fmt::format("file {} is given to two buffers", argument->output));
    arguments.push_back(std::move(*argument));
  }
  return arguments;
}

Result<void> quern::tool::addSimOutput(AtomicFiles &files,
                                       const SimArgument &argument,
                                       const Tensor &contents) {
  if (isNpy(argument.output) && argument.npyType.empty())
    return addNpy(files, argument.output, contents);
  if (isNpy(argument.output)) {
    auto head = npyHeader(contents.dtype(), contents.shape());
    if (!head)
      return head.error();
    for (const OtherType &other : otherTypes)
      if (other.npy == argument.npyType)
        renameNpyType(*head, other.heldNpy, other.npy);
    std::span<const std::byte> both[] = {
        std::as_bytes(std::span(*head)),
        {static_cast<const std::byte *>(contents.data()), contents.bytes()}};
    return files.add(argument.output, both);
  }
  std::span<const std::byte> pieces[] = {
      {static_cast<const std::byte *>(contents.data()), contents.bytes()}};
  return files.add(argument.output, pieces);
}
