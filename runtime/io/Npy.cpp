//===- Npy.cpp - NumPy's array files --------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The format (NumPy, "numpy.lib.format"): "\x93NUMPY", a major and a minor
// version byte, the header's length (u16 in version 1, u32 from 2 on), the
// header, the elements. The header is a Python dictionary literal with the
// keys descr, fortran_order and shape, padded with spaces and ended by a
// newline so that the elements begin at a multiple of 64.
//
// The parser is our own: the libraries at hand throw, know no f16, and trust
// the header's sizes.
//
//===----------------------------------------------------------------------===//

#include "quern/io.h"
#include "runtime/core/AllocationGuard.h"
#include "runtime/io/AtomicFile.h"
#include "runtime/io/FileReader.h"
#include "runtime/io/NpyFormat.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <cstring>
#include <optional>

using namespace quern;

static_assert(std::endian::native == std::endian::little);

namespace {

constexpr std::string_view magic = "\x93NUMPY";

struct TypeName {
  const char *descr;
  DType type;
};
constexpr TypeName typeNames[] = {
    {"|b1", DType::Bool}, {"|i1", DType::I8},  {"|u1", DType::U8},
    {"<i4", DType::I32},  {"<i8", DType::I64}, {"<f2", DType::F16},
    {"<f4", DType::F32},
};

Diagnostic bad(std::string reason, std::vector<std::string> notes = {}) {
  return fail(Errc::InvalidFile,
              "not a .npy file that can be read: " + std::move(reason),
              std::move(notes));
}

struct Header {
  std::optional<std::string> descr;
  std::optional<bool> fortran;
  std::optional<std::vector<int64_t>> shape;
};

/// The dictionary literal, of the few forms NumPy writes.
class HeaderParser {
public:
  explicit HeaderParser(std::string_view text) : text(text) {}

  std::optional<Header> parse() {
    Header header;
    if (!take('{'))
      return std::nullopt;
    while (!take('}')) {
      std::optional<std::string> key = string();
      if (!key || !take(':') || !value(*key, header))
        return std::nullopt;
      if (!take(',')) {
        if (!take('}'))
          return std::nullopt;
        break;
      }
    }
    skip();
    if (!text.empty() || !header.descr || !header.fortran || !header.shape)
      return std::nullopt;
    return header;
  }

private:
  void skip() {
    while (!text.empty() && (text[0] == ' ' || text[0] == '\n'))
      text.remove_prefix(1);
  }
  bool take(char c) {
    skip();
    if (text.empty() || text[0] != c)
      return false;
    text.remove_prefix(1);
    return true;
  }
  bool word(std::string_view w) {
    skip();
    if (!text.starts_with(w))
      return false;
    text.remove_prefix(w.size());
    return true;
  }
  std::optional<std::string> string() {
    skip();
    if (text.empty() || (text[0] != '\'' && text[0] != '"'))
      return std::nullopt;
    size_t end = text.find(text[0], 1);
    if (end == std::string_view::npos)
      return std::nullopt;
    std::string out(text.substr(1, end - 1));
    text.remove_prefix(end + 1);
    return out;
  }
  std::optional<int64_t> integer() {
    skip();
    int64_t value = 0;
    size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
      if (__builtin_mul_overflow(value, int64_t{10}, &value) ||
          __builtin_add_overflow(value, int64_t{text[digits] - '0'}, &value))
        return std::nullopt;
      ++digits;
    }
    if (digits == 0)
      return std::nullopt;
    text.remove_prefix(digits);
    if (text.starts_with('L')) // Python 2's long.
      text.remove_prefix(1);
    return value;
  }
  /// `()`, `(3,)`, `(3, 4)`.
  std::optional<std::vector<int64_t>> tuple() {
    std::vector<int64_t> out;
    if (!take('('))
      return std::nullopt;
    while (!take(')')) {
      std::optional<int64_t> extent = integer();
      if (!extent)
        return std::nullopt;
      out.push_back(*extent);
      if (!take(',')) {
        if (out.size() == 1 || !take(')'))
          return std::nullopt; // "(3)" is no tuple.
        break;
      }
    }
    return out;
  }
  /// One entry's value; false when it is malformed, unknown or a repetition.
  bool value(const std::string &key, Header &header) {
    if (key == "descr" && !header.descr)
      return (header.descr = string()).has_value();
    if (key == "shape" && !header.shape)
      return (header.shape = tuple()).has_value();
    if (key == "fortran_order" && !header.fortran) {
      if (word("True"))
        header.fortran = true;
      else if (word("False"))
        header.fortran = false;
      return header.fortran.has_value();
    }
    return false;
  }

  std::string_view text;
};

Result<DType> elementType(std::string descr) {
  if (descr.starts_with('='))
    descr[0] = '<';
  for (const TypeName &t : typeNames)
    if (descr == t.descr || (descr.size() == 3 && byteWidth(t.type) == 1 &&
                             descr.substr(1) == t.descr + 1))
      return t.type;
  if (descr.starts_with('>'))
    return bad(fmt::format("its elements are big-endian ('{}')", descr),
               {fmt::format("convert it: a.astype('<{}')", descr.substr(1))});
  if (descr.find('V') != std::string::npos)
    return bad(fmt::format("its elements are raw bytes ('{}')", descr),
               {"NumPy stores bf16 and fp8 this way, without saying which: "
                "use f32, or a .safetensors file"});
  return bad(fmt::format("its elements are of type '{}'", descr),
             {"accepted are bool, int8, uint8, int32, int64, float16 and "
              "float32"});
}

Diagnostic inFile(Diagnostic diagnostic, const std::string &path) {
  diagnostic.file = path;
  return diagnostic;
}

} // namespace

Result<Tensor> quern::parseNpy(std::span<const std::byte> bytes) {
  std::string_view text(reinterpret_cast<const char *>(bytes.data()),
                        bytes.size());
  if (!text.starts_with(magic))
    return bad("it does not begin with \\x93NUMPY");
  if (text.size() < 10)
    return bad("it is truncated");
  unsigned major = static_cast<unsigned char>(text[6]);
  if (major < 1 || major > 3)
    return bad(fmt::format("format version {} is unknown", major));
  size_t lengthBytes = major == 1 ? 2 : 4, at = 8 + lengthBytes;
  uint32_t length = 0;
  if (text.size() < at)
    return bad("it is truncated");
  std::memcpy(&length, text.data() + 8, lengthBytes);
  if (text.size() - at < length)
    return bad(fmt::format("it is truncated: the header of {} bytes is not "
                           "whole",
                           length));
  std::optional<Header> header = HeaderParser(text.substr(at, length)).parse();
  if (!header)
    return bad("its header is not a dictionary of descr, fortran_order and "
               "shape");
  Result<DType> type = elementType(*header->descr);
  if (!type)
    return type.error();
  if (*header->fortran && header->shape->size() > 1)
    return bad("it is in Fortran order",
               {"convert it: numpy.ascontiguousarray(a)"});
  if (header->shape->size() > Shape::maxRank)
    return bad(fmt::format("it has rank {}, above {}", header->shape->size(),
                           Shape::maxRank));
  Shape shape(*header->shape);
  std::optional<int64_t> elements = shape.elements();
  std::string_view data = text.substr(at + length);
  // Compared before anything is allocated. The division avoids an overflow.
  if (!elements ||
      static_cast<uint64_t>(*elements) > data.size() / byteWidth(*type) ||
      static_cast<uint64_t>(*elements) * byteWidth(*type) != data.size())
    return bad(fmt::format("shape {} of {} does not match its {} bytes of "
                           "elements",
                           shape.print(), name(*type), data.size()));
  Result<Tensor> tensor = Tensor::zeros(*type, shape);
  if (tensor && !data.empty())
    std::memcpy(tensor->data(), data.data(), data.size());
  return tensor;
}

Result<Tensor> quern::readNpy(const std::string &path) {
  return guardAllocations([&]() -> Result<Tensor> {
    Result<std::vector<std::byte>> file = readFile(path);
    if (!file)
      return file.error();
    Result<Tensor> tensor = parseNpy(*file);
    if (!tensor)
      return inFile(tensor.error(), path);
    return tensor;
  });
}

Result<std::string> quern::npyHeader(DType dtype, const Shape &extents) {
  const char *descr = nullptr;
  for (const TypeName &t : typeNames)
    if (t.type == dtype)
      descr = t.descr;
  if (!descr)
    return fail(Errc::Unsupported,
                fmt::format("the .npy format has no type for {}", name(dtype)),
                {"convert the tensor to f32"});
  std::string shape;
  for (int64_t extent : extents.extents())
    shape += fmt::format("{}, ", extent);
  if (extents.rank() > 1)
    shape.resize(shape.size() - 2);
  else if (!shape.empty())
    shape.pop_back(); // "(3,)"
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}",
                  descr, shape);
  // Six extents fit version 1's 64 KiB by far.
  size_t total = (10 + header.size() + 1 + 63) / 64 * 64;
  header.resize(total - 11, ' ');
  header += '\n';
  std::string head = std::string(magic) + '\1' + '\0';
  head += static_cast<char>(header.size() & 0xff);
  head += static_cast<char>(header.size() >> 8);
  return head + header;
}

Result<void> quern::addNpy(AtomicFiles &files, const std::string &path,
                           const TensorView &tensor) {
  Result<std::string> head = npyHeader(tensor.dtype, tensor.shape);
  if (!head)
    return inFile(head.error(), path);
  std::optional<int64_t> elements = tensor.shape.elements();
  if (!elements || tensor.memory != Memory::Host ||
      (*elements && !tensor.data) || tensor.strides.rank() != 0)
    return inFile(fail(Errc::InvalidArgument,
                       "only dense tensors in host memory can be written"),
                  path);
  auto bytes = static_cast<size_t>(*tensor.shape.bytes(tensor.dtype));
  std::span<const std::byte> pieces[] = {
      std::as_bytes(std::span(*head)),
      {static_cast<const std::byte *>(tensor.data), bytes}};
  return files.add(path, pieces);
}

Result<void> quern::writeNpy(const std::string &path,
                             const TensorView &tensor) {
  return guardAllocations([&]() -> Result<void> {
    AtomicFiles file;
    if (Result<void> added = addNpy(file, path, tensor); !added)
      return added;
    return file.commit();
  });
}
