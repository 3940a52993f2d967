//===- HtmlGraph.cpp - Boxes and arrows as SVG ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A layered drawing. Every node stands in the row below the lowest of its
// inputs, inputs of the whole in the row above their first reader. An arrow
// across rows takes a place of its own in each, so that it meets no box. Rows
// are ordered, and then shifted, towards the mean of what their nodes are
// connected to.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace quern;
using namespace quern::tool;

std::string quern::tool::escaped(std::string_view text) {
  std::string result;
  auto continues = [&](size_t at) {
    return at < text.size() && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80;
  };
  for (size_t i = 0; i < text.size();) {
    auto byte = static_cast<uint8_t>(text[i]);
    size_t more = byte < 0x80                   ? 0
                  : byte >= 0xc2 && byte < 0xe0 ? 1
                  : byte >= 0xe0 && byte < 0xf0 ? 2
                  : byte >= 0xf0 && byte < 0xf5 ? 3
                                                : 4;
    bool whole = more < 4;
    for (size_t c = 1; whole && c <= more; ++c)
      whole = continues(i + c);
    if (!whole) {
      result += "\xef\xbf\xbd";
      ++i;
      continue;
    }
    if (more == 0 && (byte < 0x20 || byte == 0x7f))
      result += ' ';
    else if (byte == '&')
      result += "&amp;";
    else if (byte == '<')
      result += "&lt;";
    else if (byte == '>')
      result += "&gt;";
    else if (byte == '"')
      result += "&quot;";
    else if (byte == '\'')
      result += "&#39;";
    else
      result += text.substr(i, more + 1);
    i += more + 1;
  }
  return result;
}

size_t quern::tool::lengthOf(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<uint8_t>(c) & 0xc0) != 0x80;
      }));
}

namespace {

constexpr double charWidth = 7.4, lineHeight = 16, padding = 10, gapX = 22,
                 gapY = 34, margin = 8;

/// A node of the drawing, or the place where an arrow crosses a row.
struct Item {
  size_t row = 0;
  double x = 0, width = 0; ///< Of the left edge.
  bool isCrossing = false;
  std::vector<size_t> above, below;

  double centre() const { return x + width / 2; }
};

class Layout {
public:
  explicit Layout(const Drawing &drawing) : drawing(drawing) {
    place();
    route();
    order();
    shift();
  }
  std::string svg(const std::string &label) const;

private:
  void place();
  void route();
  void order();
  void shift();
  double meanOf(const std::vector<size_t> &others) const;
  std::string boxText(size_t node) const;
  double heightOf(size_t row) const;

  const Drawing &drawing;
  std::vector<Item> items; ///< Nodes first, then crossings.
  std::vector<std::vector<size_t>> rows;
  /// The items that each arrow passes, from its beginning.
  std::vector<std::vector<size_t>> arrows;
};

} // namespace

void Layout::place() {
  items.resize(drawing.nodes.size());
  for (size_t i = 0; i < items.size(); ++i) {
    size_t longest = 4;
    for (const std::string &line : drawing.nodes[i].lines)
      longest = std::max(longest, lengthOf(line));
    items[i].width = double(longest) * charWidth + 2 * padding;
    for (size_t input : drawing.nodes[i].inputs)
      items[i].row = std::max(items[i].row, items[input].row + 1);
  }
  // What nothing makes stands right above who reads it first.
  std::vector<size_t> first(items.size(), SIZE_MAX);
  for (size_t i = 0; i < items.size(); ++i)
    for (size_t input : drawing.nodes[i].inputs)
      first[input] = std::min(first[input], items[i].row);
  for (size_t i = 0; i < items.size(); ++i)
    if (drawing.nodes[i].inputs.empty() && first[i] != SIZE_MAX)
      items[i].row = first[i] - 1;
}

void Layout::route() {
  for (size_t i = 0; i < drawing.nodes.size(); ++i) {
    std::vector<size_t> inputs = drawing.nodes[i].inputs;
    std::sort(inputs.begin(), inputs.end());
    inputs.erase(std::unique(inputs.begin(), inputs.end()), inputs.end());
    for (size_t input : inputs) {
      std::vector<size_t> path = {input};
      for (size_t row = items[input].row + 1; row < items[i].row; ++row) {
        Item crossing;
        crossing.row = row;
        crossing.width = 2;
        crossing.isCrossing = true;
        path.push_back(items.size());
        items.push_back(crossing);
      }
      path.push_back(i);
      for (size_t p = 0; p + 1 < path.size(); ++p) {
        items[path[p]].below.push_back(path[p + 1]);
        items[path[p + 1]].above.push_back(path[p]);
      }
      arrows.push_back(std::move(path));
    }
  }
  for (size_t i = 0; i < items.size(); ++i) {
    rows.resize(std::max(rows.size(), items[i].row + 1));
    rows[items[i].row].push_back(i);
  }
}

double Layout::meanOf(const std::vector<size_t> &others) const {
  double sum = 0;
  for (size_t other : others)
    sum += items[other].centre();
  return sum / double(others.size());
}

/// Side by side from 0.
static void pack(std::vector<Item> &items, const std::vector<size_t> &row) {
  double x = 0;
  for (size_t item : row) {
    items[item].x = x;
    x += items[item].width + gapX;
  }
}

void Layout::order() {
  for (auto &row : rows)
    pack(items, row);
  for (int sweep = 0; sweep < 8; ++sweep) {
    bool down = sweep % 2 == 0;
    for (size_t r = 0; r < rows.size(); ++r) {
      std::vector<size_t> &row = rows[down ? r : rows.size() - 1 - r];
      auto wanted = [&](size_t item) {
        const auto &others = down ? items[item].above : items[item].below;
        return others.empty() ? items[item].centre() : meanOf(others);
      };
      std::vector<std::pair<double, size_t>> keyed;
      for (size_t item : row)
        keyed.push_back({wanted(item), item});
      std::sort(keyed.begin(), keyed.end());
      for (size_t i = 0; i < row.size(); ++i)
        row[i] = keyed[i].second;
      pack(items, row);
    }
  }
}

void Layout::shift() {
  for (int sweep = 0; sweep < 12; ++sweep)
    for (size_t r = 0; r < rows.size(); ++r) {
      const std::vector<size_t> &row =
          rows[sweep % 2 == 0 ? r : rows.size() - 1 - r];
      std::vector<double> left(row.size());
      double sum = 0, number = 0;
      for (size_t i = 0; i < row.size(); ++i) {
        const Item &item = items[row[i]];
        std::vector<size_t> both = item.above;
        both.insert(both.end(), item.below.begin(), item.below.end());
        double wanted = both.empty() ? item.x : meanOf(both) - item.width / 2;
        left[i] = wanted;
        if (i > 0)
          left[i] =
              std::max(left[i], left[i - 1] + items[row[i - 1]].width + gapX);
        sum += wanted - left[i];
        ++number;
      }
      // Who had to give way gives way on both sides.
      for (size_t i = 0; i < row.size(); ++i)
        items[row[i]].x = left[i] + sum / number;
    }
  double least = 0;
  if (!items.empty())
    least =
        std::min_element(items.begin(), items.end(),
                         [](const Item &a, const Item &b) { return a.x < b.x; })
            ->x;
  for (Item &item : items)
    item.x += margin - least;
}

double Layout::heightOf(size_t row) const {
  size_t lines = 1;
  for (size_t item : rows[row])
    if (!items[item].isCrossing)
      lines = std::max(lines, drawing.nodes[item].lines.size());
  return double(lines) * lineHeight + 2 * padding - 4;
}

std::string Layout::svg(const std::string &label) const {
  std::vector<double> top;
  double y = margin, right = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    top.push_back(y);
    y += heightOf(r) + gapY;
  }
  double height = std::max(y - gapY + margin, 2 * margin);
  for (const Item &item : items)
    right = std::max(right, item.x + item.width);
  double width = right + margin;
  std::string text = fmt::format(
      "<svg class=\"graph\" role=\"img\" aria-label=\"{0}\" width=\"{1:.0f}\" "
      "height=\"{2:.0f}\" viewBox=\"0 0 {1:.0f} {2:.0f}\">\n",
      escaped(label), std::ceil(width), std::ceil(height));
  auto bottom = [&](size_t item) {
    size_t row = items[item].row;
    if (items[item].isCrossing)
      return top[row] + heightOf(row);
    return top[row] + double(drawing.nodes[item].lines.size()) * lineHeight +
           2 * padding - 4;
  };
  for (const std::vector<size_t> &path : arrows) {
    const Item &from = items[path.front()];
    text += fmt::format("<path class=\"arrow\" d=\"M{:.1f} {:.1f}",
                        from.centre(), bottom(path.front()));
    double x = from.centre(), at = bottom(path.front());
    for (size_t p = 1; p < path.size(); ++p) {
      const Item &to = items[path[p]];
      bool last = p + 1 == path.size();
      double end = top[to.row] - (last ? 6 : 0), bend = (end - at) / 2;
      text += fmt::format(" C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}", x,
                          at + bend, to.centre(), end - bend, to.centre(), end);
      if (!last)
        text += fmt::format(" V{:.1f}", bottom(path[p]));
      x = to.centre();
      at = bottom(path[p]);
    }
    const Item &to = items[path.back()];
    double tip = top[to.row];
    text += fmt::format(
        "\"/><path class=\"tip\" d=\"M{0:.1f} {1:.1f}l-4 -7h8z\"/>\n",
        to.centre(), tip);
  }
  for (size_t i = 0; i < drawing.nodes.size(); ++i) {
    const Drawing::Node &node = drawing.nodes[i];
    const Item &item = items[i];
    double y0 = top[item.row];
    text += fmt::format(
        "<g class=\"{}\">{}<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" "
        "height=\"{:.1f}\" rx=\"5\"/>",
        escaped(node.kind),
        node.note.empty()
            ? std::string()
            : fmt::format("<title>{}</title>", escaped(node.note)),
        item.x, y0, item.width, bottom(i) - y0);
    for (size_t line = 0; line < node.lines.size(); ++line)
      text += fmt::format(
          "<text x=\"{:.1f}\" y=\"{:.1f}\"{}>{}</text>", item.centre(),
          y0 + padding + 10 + double(line) * lineHeight,
          line == 0 ? " class=\"head\"" : "", escaped(node.lines[line]));
    text += "</g>\n";
  }
  return text + "</svg>\n";
}

std::string quern::tool::drawGraph(const Drawing &drawing,
                                   const std::string &label) {
  return Layout(drawing).svg(label);
}
