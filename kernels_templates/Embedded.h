//===- Embedded.h - The device headers as text ------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The headers under kernels_templates/cuda, carried inside the compiler so
// that NVRTC gets them from memory. `path` is what `#include` names.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_KERNELS_TEMPLATES_EMBEDDED_H
#define QUERN_KERNELS_TEMPLATES_EMBEDDED_H

#include <span>
#include <string_view>

namespace quern {

struct EmbeddedHeader {
  std::string_view path;
  std::string_view text;
};

/// In the order of templates.inc: a header stands after those it includes.
std::span<const EmbeddedHeader> embeddedHeaders();

} // namespace quern

#endif // QUERN_KERNELS_TEMPLATES_EMBEDDED_H
