// A product with a weight of which only the blocks on the diagonal are kept (recurrence/heads.h).
//
// A column of the product belongs to a head and multiplies its head's numbers of a row, so panels have the k of one
// head. The columns of a panel are often of one head: then it is a plain product from the head's numbers on. A panel
// with columns of several heads is multiplied once for each, and every column takes the sum of its own head. Zeros in
// the place of other heads' weights would not do: zero times a NaN is a NaN.
// Not here: which products have heads (weights.h, head_backward.h).
#pragma once

#include "panels.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Heads that have columns of a panel.
struct HeadRange {
    Index first, last;
};

// Vectors per panel where `vectors` vectors are of one head (0: its units are no whole blocks): a panel is no wider
// than a head, where that can be.
inline int head_panel_vectors(int width, Index vectors) {
    if (vectors == 0 || vectors >= width) return width;
    int fitting = static_cast<int>(vectors);
    while (width % fitting != 0 || vectors % fitting != 0) --fitting;
    return fitting;
}

template <class T>
struct HeadProduct {
    static constexpr int lanes = Vec<T>::lanes;

    Panels<T> panels{};           // k: the length of one head's sum; without data: there are no heads
    T* head_of = nullptr;         // (vectors, lanes): of each column; -1 beyond the last
    HeadRange* ranges = nullptr;  // of each panel
    Index size = 0;               // units of a head

    // out[r] = init + the columns of the vectors [first, last), each times its own head's numbers of a[r]; these stand
    // `size` apart. first is on a panel's edge, last too or the very end.
    [[gnu::noinline]] void run(RowBlock<T> a, int rows, Index first, Index last, const T* init, T* out,
                               Index out_stride) const {
        const T* const row = a.data;
        for (Index vector = first; vector < last;) {
            const Index panel = vector / panels.width;
            const HeadRange heads = ranges[panel];
            Index end = panel + 1;  // panels of one head run side by side
            if (heads.first == heads.last)
                while (end * panels.width < last && ranges[end].first == heads.first && ranges[end].last == heads.last)
                    ++end;
            const Index behind = end * panels.width < last ? end * panels.width : last;
            const Panels<T> some = part_of(panels, vector, behind);
            const Index column = (vector - first) * lanes;
            a.data = row + heads.first * size;
            product(a, rows, some, init + column, 0, out + column, out_stride);
            for (Index head = heads.first + 1; head <= heads.last; ++head) {
                a.data = row + head * size;
                take_columns(a, rows, some, head, head_of + vector * lanes, init + column, out + column, out_stride);
            }
            vector = behind;
        }
    }

    // A share of the panels of a forward's product, whose columns are rows of W (panels.h: pack_gates).
    void pack(const T* weight, const int* rows, const UnitColumns<T>& columns, int share, int shares) const {
        const Index first = panels.count() * share / shares, last = panels.count() * (share + 1) / shares;
        pack_gates(panels, 0, weight, panels.k, rows, columns, first, last);
        for (Index panel = first; panel < last; ++panel)
            note_heads(panel, [&](Index vector, auto lane_is) {
                columns.each_lane(vector, [&](int lane, int gate, Index unit) { lane_is(lane, gate < 0 ? -1 : unit); });
            });
    }
    // A share of the panels of a backward's product, whose columns run along the rows of W (pack_transposed): element
    // (k = (i, unit of the head), column) = W[row[i] * units + unit][column's place in its head].
    void pack_transposed(const T* weight, const int* rows, Index units, int share, int shares) const {
        const Index first = panels.count() * share / shares, last = panels.count() * (share + 1) / shares;
        for (Index panel = first; panel < last; ++panel) {
            const int width = panels.width_of(panel);
            for (int v = 0; v < width; ++v)
                pack_columns(weight, rows, units, (panel * panels.width + v) * lanes,
                             panels.data + panel * panels.panel_size() + v * lanes, width * lanes);
            note_heads(panel, [&](Index vector, auto lane_is) {
                for (int lane = 0; lane < lanes; ++lane)
                    lane_is(lane, vector * lanes + lane < units ? vector * lanes + lane : -1);
            });
        }
    }

private:
    // The columns of a panel that are of this head.
    void take_columns(const RowBlock<T>& a, int rows, const Panels<T>& panel, Index head, const T* heads, const T* init,
                      T* out, Index out_stride) const {
        using V = Vec<T>;
        alignas(64) T strip[kMostRows * kMostPanelVectors * lanes];
        const Index width = panel.vectors * lanes;
        product(a, rows, panel, init, 0, strip, width);
        const V wanted(static_cast<T>(head));
        for (int r = 0; r < rows; ++r)
            for (Index at = 0; at < width; at += lanes) {
                T* const to = out + r * out_stride + at;
                where_eq(V::load(heads + at), wanted, V::load(strip + r * width + at), V::load(to)).store(to);
            }
    }
    // each_lane(vector, lane_is) calls lane_is(lane, unit) for every lane; unit -1: none.
    template <class EachLane>
    void note_heads(Index panel, EachLane each_lane) const {
        HeadRange range{-1, -1};
        for (Index vector = panel * panels.width, end = vector + panels.width_of(panel); vector < end; ++vector)
            each_lane(vector, [&](int lane, Index unit) {
                const Index head = unit < 0 ? -1 : unit / size;
                head_of[vector * lanes + lane] = static_cast<T>(head);
                if (head < 0) return;
                if (range.first < 0 || head < range.first) range.first = head;
                if (head > range.last) range.last = head;
            });
        ranges[panel] = range;
    }
    // The columns from unit `column` on, a vector of them for every k.
    void pack_columns(const T* weight, const int* rows, Index units, Index column, T* to, Index stride) const {
        const Index head = column / size, end = column + lanes < units ? column + lanes : units;
        const bool alone = end <= (head + 1) * size;
        const Index gates = panels.k / size;
        for (Index gate = 0; gate < gates; ++gate)
            for (Index unit = 0; unit < size; ++unit, to += stride) {
                const T* const from = weight + (rows[gate] * units + unit) * size;
                if (alone) {
                    Vec<T>::load(from + head * size * size + column - head * size, end - column).store(to);
                    continue;
                }
                for (Index lane = 0; lane < lanes; ++lane) {
                    const Index at = column + lane, of = at / size;
                    to[lane] = at < end ? from[of * size * size + at - of * size] : T(0);
                }
            }
    }
};

// Room for it. `like`: the panels of the dense product, of which k here is another; `gates`: vectors of a block.
template <class T>
HeadProduct<T> take_head_product(Workspace& workspace, const Panels<T>& like, Index size, Index k, int gates) {
    HeadProduct<T> heads{like, nullptr, nullptr, size};
    const Index vectors = size % Vec<T>::lanes == 0 ? size / Vec<T>::lanes * gates : 0;
    heads.panels.k = k;
    heads.panels.width = head_panel_vectors(like.width, vectors);
    heads.panels.data = workspace.take<T>(heads.panels.size());
    heads.head_of = workspace.take<T>(like.vectors * Vec<T>::lanes);
    heads.ranges = workspace.take<HeadRange>(heads.panels.count());
    return heads;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
