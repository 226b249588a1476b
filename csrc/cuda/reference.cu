// The plain product: one thread for each element, one chain of fused multiply-adds in ascending k. Any dtype, any card,
// no library: slow and obviously right, what the others are compared with.
#include "queue.h"

namespace rnnkernels::RNNKERNELS_TARGET {

namespace {

template <class T>
struct ReferenceProduct {
    Product p;

    RNNKERNELS_INLINE void operator()(Index row, Index column) const {
        const Index at = row * p.c_stride + column;
        Vec<T> sum(p.accumulate ? load_as<T>(p.c, p.result, at) : T(0));
        for (Index k = 0; k < p.k; ++k) {
            const T a = load_as<T>(p.a, p.operands, p.a_transposed ? k * p.a_stride + row : row * p.a_stride + k);
            const T b = load_as<T>(p.b, p.operands, p.b_transposed ? column * p.b_stride + k : k * p.b_stride + column);
            sum = fma(Vec<T>(a), Vec<T>(b), sum);
        }
        store_as<T>(p.c, p.result, at, sum.raw);
    }
};

void multiply_plainly(const Queue& queue, const Product& product) {
    for (Index i = 0; i < product.count; ++i) {
        Product one = product;
        one.a = offset(product.a, product.operands, i * product.a_step);
        one.b = offset(product.b, product.operands, i * product.b_step);
        one.c = offset(product.c, product.result, i * product.c_step);
        if (product.operands == Dtype::float64)
            each(queue, product.m, product.n, ReferenceProduct<double>{one});
        else
            each(queue, product.m, product.n, ReferenceProduct<float>{one});
    }
}

constexpr Products kReference{"reference", multiply_plainly};

}  // namespace

const Products& reference_products() { return kReference; }

}  // namespace rnnkernels::RNNKERNELS_TARGET
