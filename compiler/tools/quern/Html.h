//===- Html.h - Pieces of a page --------------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Text, graphs and plots as HTML and inline SVG that need nothing else: no
// script, no font, no address. Colours are custom properties which the page
// defines for light and dark (HtmlPage.cpp). Everything that comes from a
// layer or a file's name passes through `escaped`.
//
// Widths are computed from numbers of characters, as all text in drawings is of
// one width; what a browser really draws is narrower.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_HTML_H
#define QUERN_TOOLS_QUERN_HTML_H

#include "compiler/tools/quern/Explanation.h"

#include <string>
#include <string_view>
#include <vector>

namespace quern::tool {

/// Fit to stand in HTML, between quotes too. What is no UTF-8 becomes U+FFFD,
/// control characters spaces.
std::string escaped(std::string_view text);

/// Characters, not bytes.
size_t lengthOf(std::string_view text);

/// A table's cell of HTML; `kind` is a class of the page's style: "num",
/// "long".
std::string cell(const std::string &text, const char *kind = nullptr);
/// A table of rows of cells, `<tr>...</tr>` each.
std::string table(const std::vector<std::string> &titles,
                  const std::string &rows);
/// A whole page around a body of HTML.
std::string page(const std::string &title, const std::string &body);
Result<void> writePage(const std::string &path, const std::string &text);

/// A drawing of boxes and arrows, from top to bottom.
struct Drawing {
  struct Node {
    std::string kind; ///< A class of the page's style: "weight", "kernel", ...
    std::vector<std::string> lines; ///< The first stands out.
    std::string note;               ///< Shown when pointed at.
    std::vector<size_t> inputs;     ///< Nodes listed before it.
  };
  std::vector<Node> nodes;
};
/// `label` says what it is to who cannot see it.
std::string drawGraph(const Drawing &drawing, const std::string &label);

/// The roofline plot of all kernels, or a sentence where there is nothing to
/// plot.
std::string drawRoofline(const Explanation &explanation);

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_HTML_H
