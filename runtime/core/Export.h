//===- Export.h - What the shared libraries export --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Everything is built with hidden visibility. QUERN_API marks the classes and
// functions of the public interface (runtime/include/quern) and the few of the
// core that it mentions.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CORE_EXPORT_H
#define QUERN_CORE_EXPORT_H

#define QUERN_API __attribute__((visibility("default")))

#endif // QUERN_CORE_EXPORT_H
