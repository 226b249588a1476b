// The list of cells. A new one is its header and one line here.
#pragma once

#include "gru.h"
#include "gru_reset_before.h"
#include "layer_norm.h"
#include "light.h"
#include "lstm.h"
#include "lstm_variants.h"
#include "mut.h"
#include "slstm.h"
#include "vanilla.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <template <class> class... Cells>
struct CellList {};

template <class List>
inline constexpr int cell_count = 0;
template <template <class> class... Cells>
inline constexpr int cell_count<CellList<Cells...>> = sizeof...(Cells);

using AllCells =
    CellList<RnnTanh, RnnRelu, Lstm, Gru, GruResetBefore, LstmPeephole, LstmNig, LstmNfg, LstmNog, LstmNiaf, LstmNoaf,
             LstmCifg, LstmFgr, LstmProjected, LstmPeepholeProjected, Mut1, Mut1Projected, Mut2, Mut2Projected, Mut3,
             Mgu, LiGru, Janet, IndRnn, Slstm, SlstmExp, LstmLayerNorm, GruLayerNorm>;

}  // namespace rnnkernels::RNNKERNELS_TARGET
