// What together.h says.
#include "together.h"

#include <algorithm>
#include <optional>

#include "cublas.h"
#include "engines.h"
#include "overlap.h"
#include "resident/coverage.h"
#include "resident/pair.h"
#include "sides.h"

namespace rnnkernels::cuda {
namespace {

// What both directions' kernels are called with.
struct Pairs {
    ResidentPair forward;
    ResidentBackwardPair backward;
};

// A call in its stream, with what it is put by.
class Running {
public:
    Running(const ReadyCall& call, void* stream, Pairs* pairs) {
        const Where& where = call.in().where;
        auto* own = static_cast<char*>(where.workspace);
        const Products* products = &reference_products();
        if (call.kernel != Kernel::reference) {
            blas_.emplace(stream, own, where.tf32);
            products = &blas_->products();
            own += kCublasWorkspace;
        }
        queue_ = call.queue;
        queue_.stream = stream, queue_.products = products;
        if (pairs) queue_.pair = &pairs->forward, queue_.backward_pair = &pairs->backward;
        pieces_ = call.forward ? forward_pieces(*call.cell, *call.forward, call.dtype, queue_, own)
                               : backward_pieces(*call.cell, *call.backward, call.dtype, queue_, own);
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    Pieces* operator->() const { return pieces_.get(); }

private:
    std::optional<Cublas> blas_;
    Queue queue_{};
    std::unique_ptr<Pieces> pieces_;
};

// Which earlier call's result a call reads.
LinkedCall link_of(const std::vector<ReadyCall>& calls, std::size_t number) {
    const ReadyCall& call = calls[number];
    LinkedCall found{-1, false, call.in().shape.steps};
    for (std::size_t j = 0; j < number; ++j) {
        const ReadyCall& other = calls[j];
        const void* read = call.forward ? call.forward->in.x : call.backward->d_output;
        const void* written = other.forward ? other.forward->output : other.backward->dx;
        if (!read || read != written) continue;
        const Inputs &to = call.in(), &from = other.in();
        found.before = static_cast<int>(j);
        found.by_piece = !to.starts && !to.places && !from.starts && !from.places && to.shape.steps == from.shape.steps;
    }
    return found;
}

// Both directions' steps, chunk by chunk of each: the first brings its part of a launch, the second puts both. Where
// one has more chunks than the other, the rest of them are launched by themselves.
void put_directions(const std::vector<ReadyCall>& calls, void* stream) {
    Pairs pairs{};
    Running first(calls[0], stream, &pairs), second(calls[1], stream, &pairs);
    first->begin();
    second->begin();
    const bool down = calls[0].backward != nullptr;
    struct Steps {
        Running& call;
        Index at, end;
        bool left() const { return at != end; }
    };
    const auto all = [&](Running& call, Index steps) { return Steps{call, down ? steps : 0, down ? 0 : steps}; };
    Steps one = all(first, calls[0].in().shape.steps), other = all(second, calls[1].in().shape.steps);
    while (one.left() || other.left()) {
        pairs.forward.waits = pairs.backward.waits = one.left() && other.left();
        for (Steps* of : {&one, &other}) {
            if (!of->left()) continue;
            const Index next = of->call->next(of->at);
            of->call->take(down ? next : of->at, down ? of->at : next);
            of->at = next;
        }
    }
    first->finish();
    second->finish();
}

// The streams come back to the caller's also where something throws: its memory may be given back then.
class Joined {
public:
    Joined(Sides& sides, void* stream, int count, int first_event)
        : sides_(sides), stream_(stream), count_(count), first_event_(first_event) {}
    ~Joined() {
        for (int i = 0; i < count_; ++i) try {
                sides_.record(first_event_ + i, sides_.stream(i));
                sides_.wait(stream_, first_event_ + i);
            } catch (...) {  // CUDA has failed, and says so to whoever comes next
            }
    }
    Joined(const Joined&) = delete;
    Joined& operator=(const Joined&) = delete;

private:
    Sides& sides_;
    void* stream_;
    int count_, first_event_;
};

}  // namespace

bool are_directions(const ReadyCall& a, const ReadyCall& b) {
    if (!a.queue.is_resident() || a.queue.resident != b.queue.resident) return false;
    const bool backwards = a.backward != nullptr;
    if (backwards != (b.backward != nullptr)) return false;
    const Inputs &one = a.in(), &other = b.in();
    const Shape &s = one.shape, &o = other.shape;
    if (a.cell != b.cell || a.dtype != b.dtype || s.hidden != o.hidden || s.input != o.input || s.hidden == 0)
        return false;
    if (one.where.tf32 != other.where.tf32 || masks_of(one.noise) != masks_of(other.noise)) return false;
    const auto same = [](const void* p, const void* q) { return p && p == q; };
    if (backwards ? same(a.backward->d_output, b.backward->dx) || same(b.backward->d_output, a.backward->dx)
                  : same(one.x, b.forward->output) || same(other.x, a.forward->output))
        return false;
    ReadyCall half = a, rest = b;
    make_directions(half, rest);
    const CellTable& table = *a.cell->table;
    const Operands operands = operands_of(a.dtype, one.where.tf32);
    return (backwards ? divide_backward(table, one, operands, half.queue).of : divide(table, one, operands, half.queue))
               .blocks > 0;
}

void make_directions(ReadyCall& a, ReadyCall& b) {
    const Index rows = std::max(a.in().shape.batch, b.in().shape.batch);
    for (ReadyCall* call : {&a, &b}) call->queue.resident = half_of(call->queue.resident), call->queue.rows = rows;
}

void put_together(const std::vector<ReadyCall>& calls, bool directions, Index piece, void* stream) {
    if (directions) return put_directions(calls, stream);
    std::vector<LinkedCall> links;
    for (std::size_t i = 0; i < calls.size(); ++i) links.push_back(link_of(calls, i));
    const std::vector<Part> parts = overlapped(links, piece, calls[0].backward != nullptr);
    std::vector<char> waited(parts.size());
    for (const Part& part : parts)
        if (part.after >= 0) waited[static_cast<std::size_t>(part.after)] = 1;
    const int count = static_cast<int>(calls.size()), part_count = static_cast<int>(parts.size());
    // Events: of the parts, of each stream's end, of the begin.
    Sides sides(count, part_count + count + 1);
    const int begun = part_count + count;
    sides.record(begun, stream);
    for (int i = 0; i < count; ++i) sides.wait(sides.stream(i), begun);
    const Joined joined(sides, stream, count, part_count);
    std::vector<std::unique_ptr<Running>> running;
    for (int i = 0; i < count; ++i)
        running.push_back(std::make_unique<Running>(calls[static_cast<std::size_t>(i)], sides.stream(i), nullptr));
    for (int i = 0; i < part_count; ++i) {
        const Part& part = parts[static_cast<std::size_t>(i)];
        Running& call = *running[static_cast<std::size_t>(part.call)];
        void* const side = sides.stream(part.call);
        // What a call does before its first step reads nothing of the others'.
        if (part.begins) call->begin();
        if (part.after >= 0) sides.wait(side, part.after);
        if (part.first < part.last) call->take(part.first, part.last);
        // Whoever reads dx need not wait for the sums of weight gradients; of an output, all is there.
        if (waited[static_cast<std::size_t>(i)]) sides.record(i, side);
        if (part.ends) call->finish();
    }
}

}  // namespace rnnkernels::cuda
