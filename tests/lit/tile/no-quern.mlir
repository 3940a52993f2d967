// An op of a layer that leaks through the conversion does not parse here.
// RUN: not tile-opt %s 2>&1 | FileCheck %s
// CHECK: error: Dialect `quern' not found for custom op 'quern.neg'
%0 = quern.neg %1 : tensor<4xf32> -> tensor<4xf32>
