#include "kernels/role_name.h"

namespace assay {

std::string_view NameOf(Role role) {
  switch (role) {
    case Role::kQ: return "Q";
    case Role::kK: return "K";
    case Role::kV: return "V";
    case Role::kO: return "O";
    case Role::kLse: return "LSE";
    case Role::kWeights: return "WEIGHTS";
    case Role::kScores: return "SCORES";
    case Role::kKNew: return "K_NEW";
    case Role::kVNew: return "V_NEW";
    case Role::kKScale: return "K_SCALE";
    case Role::kVScale: return "V_SCALE";
    case Role::kCuQ: return "CU_Q";
    case Role::kCuK: return "CU_K";
    case Role::kLenK: return "LEN_K";
    case Role::kPageTable: return "PAGE_TABLE";
    case Role::kPosQ: return "POS_Q";
    case Role::kPosK: return "POS_K";
    case Role::kMaskBool: return "MASK_BOOL";
    case Role::kMaskAdd: return "MASK_ADD";
    case Role::kSink: return "SINK";
    case Role::kAlibi: return "ALIBI";
    case Role::kTopkIndex: return "TOPK_INDEX";
    case Role::kLogDecay: return "LOG_DECAY";
    case Role::kBeta: return "BETA";
    case Role::kDt: return "DT";
    case Role::kA: return "A";
    case Role::kD: return "D";
    case Role::kKey2: return "KEY2";
    case Role::kStateIn: return "STATE_IN";
    case Role::kStateOut: return "STATE_OUT";
    case Role::kConvIn: return "CONV_IN";
    case Role::kConvOut: return "CONV_OUT";
    case Role::kUser: return "USER";
  }
  return "a role of the mechanism's own";
}

}  // namespace assay
