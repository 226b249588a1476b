// Products of matrices, whoever makes them: cuBLAS (cublas.h), or a plain kernel that any card can run (reference.cu).
#pragma once

#include "resident/clusters.h"
#include "storage.h"

namespace rnnkernels::RNNKERNELS_TARGET {

struct Products;
struct ResidentCall;
struct ResidentBackwardCall;
template <class Call>
struct PairOf;

// Where work is put: into a stream, one piece after the other (queue.h).
struct Queue {
    void* stream;                          // a cudaStream_t
    const Products* products;              // who multiplies matrices
    ClusterRoom resident{};                // clusters of a resident kernel (resident/); none: none runs
    int shared = 0;                        // bytes of shared memory that a block of it may have
    Index rows = 0;                        // of the batch that it is made for, where those are more than the call's
    PairOf<ResidentCall>* pair = nullptr;  // both directions' steps go into one kernel: what it is called with
    PairOf<ResidentBackwardCall>* backward_pair = nullptr;  // likewise of a backward
    int grid = 0;        // processors that a grid kernel may fill (grid/); 0: none runs
    int capability = 0;  // of the card, for that

    bool is_resident() const { return resident.largest() > 0; }
};

// c (m, n) = a (m, k) b (k, n), or c + a b. Rows of a matrix as it lies in memory are `stride` elements apart; of a
// transposed one the columns are. Or `count` such products at once: the matrices of the next one begin a step further.
struct Product {
    Index m, n, k;
    const void* a;
    Index a_stride;
    bool a_transposed;
    const void* b;
    Index b_stride;
    bool b_transposed;
    void* c;
    Index c_stride;
    bool accumulate;
    Dtype operands;  // of a and b
    Dtype result;    // of c: the arithmetic's, or the operands'
    Index count = 1;
    Index a_step = 0, b_step = 0, c_step = 0;  // elements
};

struct Products {
    const char* name;
    void (*multiply)(const Queue& queue, const Product& product);
    void* context = nullptr;  // its own
    bool tf32 = false;        // float32 operands may be rounded to TF32
};

// The plain ones.
const Products& reference_products();

}  // namespace rnnkernels::RNNKERNELS_TARGET
