/* The C ABI for attention kernels a user brings to Assay.
 *
 * A shared library exports assay_get_kernel(). A kernel declares which roles it reads, says through check() which problems it serves, is
 * prepared once per shape (plans, primitives, sessions: timed apart) and then run. Rules:
 *   - An argument the kernel does not list is refused by Assay, never passed and ignored.
 *   - Between two runs of one plan data pointers may change; shapes, strides and types may not.
 *   - Every struct starts with its size in bytes and only grows at its end; an unknown tail is zero, and zero means "as before".
 *   - No call may throw through this boundary, exit the process, or keep pointers after release().
 * ABI version 1. Enumerators keep their values for ever.
 */
#ifndef ASSAY_KERNEL_H_
#define ASSAY_KERNEL_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_KERNEL_ABI 1u
#define ASSAY_MAX_RANK 6

typedef enum {
  ASSAY_OK = 0,
  ASSAY_UNSUPPORTED = 1, /* a legal problem this kernel does not serve; say why in env->error */
  ASSAY_BAD_ARG = 2,
  ASSAY_NO_MEMORY = 3,
  ASSAY_INTERNAL = 4
} assay_status;

typedef enum {
  ASSAY_F64 = 0,
  ASSAY_F32 = 1,
  ASSAY_F16 = 2,
  ASSAY_BF16 = 3,
  ASSAY_E4M3 = 4, /* OCP fp8 e4m3fn */
  ASSAY_E5M2 = 5,
  ASSAY_I8 = 6,
  ASSAY_U8 = 7,
  ASSAY_I4 = 8, /* two a byte, low nibble first */
  ASSAY_U4 = 9,
  ASSAY_I32 = 10,
  ASSAY_I64 = 11,
  ASSAY_BOOL8 = 12,
  ASSAY_BLOCK = 13 /* block-coded: assay_tensor.block says how */
} assay_dtype;

/* What a tensor is for. Shapes: B sequences, T query tokens, S key tokens, Hq query heads, Hkv key/value heads, D and Dv widths.
 * A token-wise tensor is either dense, rank 4 [B, T, H, D], or packed, rank 3 [total tokens, H, D] with ASSAY_CU_Q / ASSAY_CU_K, or
 * (keys and values only) paged, rank 4 [pages, page_tokens, Hkv, D] with ASSAY_PAGE_TABLE and ASSAY_LEN_K. Strides are free.
 * Per-head scalars (LSE, BETA, scalar decay) lack the last axis. */
typedef enum {
  ASSAY_Q = 0,       /* [B,T,Hq,D] or [total,Hq,D] */
  ASSAY_K = 1,       /* [B,S,Hkv,D], [total,Hkv,D] or [pages,page_tokens,Hkv,D] */
  ASSAY_V = 2,       /* as K, width Dv */
  ASSAY_O = 3,       /* out, as Q, width Dv */
  ASSAY_LSE = 4,     /* out, [B,T,Hq] or [total,Hq]: natural log of the sum of exp of scaled scores, sinks included; -inf if empty */
  ASSAY_WEIGHTS = 5, /* out, [B,Hq,T,S] attention probabilities */
  ASSAY_SCORES = 6,  /* out, [B,Hq,T,S] scaled scores before masking */
  ASSAY_K_NEW = 7,   /* rows to append to the cache before attending, [B,T,Hkv,D] or packed */
  ASSAY_V_NEW = 8,
  ASSAY_K_SCALE = 9, /* scales of a quantised cache, stored as K is: [.., Hkv] per token, [.., Hkv, D/32] per group of 32 channels;
                        per page channel: [B, ceil(S/64), Hkv, D] */
  ASSAY_V_SCALE = 10,

  ASSAY_CU_Q = 16,       /* int64 [B+1], cumulative query tokens */
  ASSAY_CU_K = 17,       /* int64 [B+1], cumulative key tokens */
  ASSAY_LEN_K = 18,      /* int64 [B], keys in use of each sequence; the rest of the buffer is undefined and may hold NaN */
  ASSAY_PAGE_TABLE = 19, /* int64 [B, max pages], -1 for none */
  ASSAY_PAGE_INDPTR = 20,
  ASSAY_PAGE_LAST = 21,
  ASSAY_SLOTS = 22,
  ASSAY_POS_Q = 23, /* int64 [B,T] or [total]: absolute position of each query; absent: bottom-right aligned, S - T + t */
  ASSAY_POS_K = 24, /* int64 [B,S] or [total]; absent: the key's index */

  ASSAY_MASK_BOOL = 32, /* bool, broadcastable to [B,Hq,T,S]; true: may attend. Keys beyond a shorter last axis are not visible */
  ASSAY_MASK_ADD = 33,  /* float, broadcastable to [B,Hq,T,S]; added to the scaled (and soft-capped) score; -inf: not visible */
  ASSAY_SINK = 34,      /* [Hq], a logit that enters the denominator exactly once a row */
  ASSAY_ALIBI = 35,     /* [Hq], slopes: bias slope * (key position - query position) */
  ASSAY_TOPK_INDEX = 36,

  ASSAY_LOG_DECAY = 48, /* natural log, <= 0: [B,T,H] per head or [B,T,H,D] per key channel, or packed */
  ASSAY_BETA = 49,      /* [B,T,H] */
  ASSAY_DT = 50,
  ASSAY_A = 51,
  ASSAY_D = 52,
  ASSAY_KEY2 = 53,

  ASSAY_STATE_IN = 64,  /* [B,H,D,Dv]; absent: zeros */
  ASSAY_STATE_OUT = 65, /* out, [B,H,D,Dv] */
  ASSAY_STATE_INDEX = 66,
  ASSAY_CONV_IN = 67,
  ASSAY_CONV_OUT = 68,
  ASSAY_ACCEPTED = 69,

  ASSAY_DO = 80,
  ASSAY_DQ = 81,
  ASSAY_DK = 82,
  ASSAY_DV = 83,

  ASSAY_USER = 1024 /* and above: mechanism-specific, named in the mechanism's README */
} assay_role;

typedef enum { ASSAY_PREFILL = 0, ASSAY_DECODE = 1, ASSAY_MIXED = 2, ASSAY_BACKWARD = 3 } assay_phase;

/* Bottom-right: the last query sees the last key (query t of T sits at position S - T + t). Top-left: query t sits at position t. */
typedef enum { ASSAY_CAUSAL_NONE = 0, ASSAY_CAUSAL_TOP_LEFT = 1, ASSAY_CAUSAL_BOTTOM_RIGHT = 2 } assay_causal;

typedef struct {
  uint32_t struct_bytes;
  uint32_t block_type;     /* the writer's own number, e.g. ggml's */
  uint32_t block_elements; /* elements of the last axis in one block */
  uint32_t block_bytes;
} assay_block;

typedef struct {
  uint32_t struct_bytes;
  int32_t axis;  /* the axis along which scales vary; -1: one scale */
  int64_t group; /* elements of that axis per scale */
  const void* scale;
  const void* zero_point; /* NULL: symmetric */
  int32_t scale_dtype;    /* assay_dtype */
  int32_t zero_point_dtype;
  int64_t scale_stride[ASSAY_MAX_RANK];
} assay_quantisation;

typedef struct {
  uint32_t struct_bytes;
  int32_t dtype; /* assay_dtype */
  void* data;
  uint64_t bytes; /* accessible bytes from data on, or from the lowest address if a stride is negative */
  int32_t rank;
  int32_t reserved;
  int64_t shape[ASSAY_MAX_RANK];
  int64_t stride[ASSAY_MAX_RANK];         /* elements; 0 and negative are legal */
  const char* dims;                       /* "bthd", "thd", "pthd", ...: names of the axes, for messages; may be NULL */
  const assay_block* block;               /* for ASSAY_BLOCK, else NULL */
  const assay_quantisation* quantisation; /* NULL: plain values */
} assay_tensor;

typedef struct {
  int32_t role; /* assay_role */
  int32_t reserved;
  assay_tensor tensor;
} assay_argument;

typedef struct {
  uint32_t struct_bytes;
  int32_t phase;         /* assay_phase */
  const char* mechanism; /* "gqa", "gated_delta_net", ... */
  const assay_argument* arguments;
  uint64_t argument_count;
  double scale;         /* multiplies q.k; always explicit */
  double softcap;       /* c > 0: score <- c tanh(score / c) after scale, before any mask; 0: none */
  int64_t window_left;  /* keys beyond the query's own position that are visible to the left; -1: all. W keys in all is W - 1 here */
  int64_t window_right; /* to the right; -1: all */
  int32_t causal;       /* assay_causal */
  int32_t page_tokens;  /* 0: not paged */
  int32_t splits;       /* over keys; 0: the kernel's choice */
  int32_t chunk;        /* tokens of a recurrent chunk; 0: the kernel's choice */
  int64_t max_q;        /* largest query length in the batch */
  int64_t max_k;
  int32_t compute_dtype; /* of products */
  int32_t accumulate_dtype;
  int32_t deterministic; /* 1: equal bits from run to run are required */
  int32_t reserved;
  const char* parameters_json; /* mechanism parameters, one JSON object; NULL: none */
} assay_problem;

typedef struct {
  uint32_t struct_bytes;
  int32_t threads;
  int32_t device; /* -1: CPU */
  int32_t reserved;
  void* stream;
  /* Runs body(context, i) for i in [0, count), in any order and on any thread; NULL: run them yourself. */
  void (*parallel_for)(void* pool, int64_t count, void (*body)(void* context, int64_t i), void* context);
  void* pool;
  char* error; /* a buffer for one line that says why, NUL-terminated */
  uint64_t error_bytes;
} assay_env;

/* What the kernel promises. Everything here is probed; a convention is not a defect, a difference from the declared one is.
 * Enumerated fields: 0 means "not declared". */
typedef struct {
  uint32_t struct_bytes;
  int32_t lse_base;            /* 1: natural, 2: base two */
  int32_t lse_of_empty_row;    /* 1: -inf, 2: +inf, 3: zero, 4: undefined */
  int32_t output_of_empty_row; /* 1: zero, 2: mean of all values, 3: NaN, 4: undefined */
  int32_t head_map;            /* 1: h * Hkv / Hq (repeat), 2: h mod Hkv (tile) */
  int32_t sink_is_scaled;      /* 1: no, 2: yes */
  int32_t decay_order;         /* 1: decay before the error term, 2: after */
  int32_t topk_tie_rule;       /* 1: lowest index, 2: highest index, 3: any */
  int32_t softcap_order;       /* 1: before the mask, 2: after */
  int32_t run_invariant;       /* 1: equal bits from run to run, 2: not */
  int32_t batch_invariant;     /* 1: a row's bits do not depend on its batch, 2: they do */
  int32_t thread_invariant;    /* 1: a row's bits do not depend on the thread count, 2: they do */
  int32_t appends_kv;          /* 1: no, 2: writes K_NEW / V_NEW into the cache itself */
  int32_t owns_threads;        /* 1: no, 2: starts its own */
  int32_t reads_past_length;   /* 1: never reads beyond LEN_K, 2: reads and ignores, 3: what lies there may leak */
} assay_conventions;

typedef struct assay_plan assay_plan; /* the kernel's own */

typedef struct {
  uint32_t struct_bytes;
  uint32_t abi; /* ASSAY_KERNEL_ABI */
  const char* id;
  const char* version;
  const char* mechanism;
  const int32_t* roles; /* the roles it honours */
  uint64_t role_count;
  const char* const* parameters; /* names in parameters_json it honours, NULL-terminated; NULL: none */
  const assay_conventions* conventions;
  /* Serves this problem? ASSAY_OK, or ASSAY_UNSUPPORTED with the reason in env->error. Must not touch tensor data. */
  assay_status (*check)(const assay_problem* problem, const assay_env* env);
  assay_status (*prepare)(const assay_problem* problem, const assay_env* env, assay_plan** plan, uint64_t* workspace_bytes);
  /* Optional (NULL): repacks K and V into the kernel's own layout; timed and shown apart. */
  assay_status (*pack_kv)(assay_plan* plan, const assay_problem* problem, const assay_env* env, void* workspace);
  assay_status (*run)(assay_plan* plan, const assay_problem* problem, const assay_env* env, void* workspace);
  void (*release)(assay_plan* plan);
} assay_kernel;

/* The library's only required symbol. index 0, 1, ...; NULL ends the list. Return NULL for an abi you do not know. */
const assay_kernel* assay_get_kernel(uint32_t abi, int32_t index);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* ASSAY_KERNEL_H_ */
