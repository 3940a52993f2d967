//===- Plot.h - The frame of a plot -----------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What the plots of pages share: one size, axes with names and ticks, as inline
// SVG in the classes of the page's style (HtmlPage.cpp). Coordinates are pixels
// from the upper left; values lie within `left`, `right`, `top` and `bottom`.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_PLOT_H
#define QUERN_TOOLS_QUERN_PLOT_H

#include <cmath>
#include <string>

namespace quern::tool::plot {

inline constexpr double width = 720, height = 400, left = 78, right = 16,
                        top = 24, bottom = 52, charWidth = 6.8;

struct Axis {
  double from, to; ///< The values at its ends; exponents of ten on a log axis.
  double begin, end; ///< The same in the drawing.
  bool isLog = false;

  double at(double value) const {
    return begin + ((isLog ? std::log10(value) : value) - from) / (to - from) *
                       (end - begin);
  }
};

/// The start of the drawing; it ends with `</svg>`. `label` says what it is to
/// who cannot see it.
std::string begin(const std::string &label);
/// A line across the plot, with its name outside.
std::string tickAlongX(double at, const std::string &name);
std::string tickAlongY(double at, const std::string &name);
std::string axisNames(const std::string &x, const std::string &y);

} // namespace quern::tool::plot

#endif // QUERN_TOOLS_QUERN_PLOT_H
