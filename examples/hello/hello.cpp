// Quern in a C++ program: compile a layer, run it, look at the result.
#include <quern/quern.h>

#include <cmath>
#include <cstdio>
#include <vector>

int main(int argc, char **argv) {
  using namespace quern;
  auto layer = compileFile(argc > 1 ? argv[1] : "hello.qn");
  if (!layer)
    return std::fputs(layer.error().render().c_str(), stderr), 2;
  auto x = Tensor::fromFloats(DType::F16, {4, 256}, std::vector(4 * 256, 0.5f));
  auto w =
      Tensor::fromFloats(DType::I8, {128, 256}, std::vector(128 * 256, 3.f));
  auto s = Tensor::fromFloats(DType::F32, {128, 1}, std::vector(128, 0.01f));
  auto y = layer->call({*x, *w, *s});
  if (!y)
    return std::fputs(y.error().render().c_str(), stderr), 2;
  float first = (*y)[0].toFloats()[0];
  std::printf("y[0, 0] = %g\n", first); // 256 * 0.5 * 3 * 0.01
  return std::abs(first - 3.84f) < 1e-3f ? 0 : 1;
}
