// The C ABI of the entropy coder.
#include "capi/gsbench.h"
#include "capi/status.h"
#include "coding/symbols.h"

namespace gsb {
namespace {

RangeEncoder encoder_of(const gsb_range_state* state, uint8_t* out, int64_t capacity) {
  RangeEncoder encoder;
  encoder.low = state->offset;
  encoder.range = state->range;
  encoder.out = out;
  encoder.size = state->position;
  encoder.capacity = capacity;
  return encoder;
}

void store(gsb_range_state* state, const RangeEncoder& encoder) {
  state->offset = encoder.low;
  state->range = encoder.range;
  state->position = encoder.size;
}

RangeDecoder decoder_of(const gsb_range_state* state, const uint8_t* data, int64_t size) {
  RangeDecoder decoder;
  decoder.offset = state->offset;
  decoder.range = state->range;
  decoder.data = data;
  decoder.size = size;
  decoder.position = state->position;
  return decoder;
}

void store(gsb_range_state* state, const RangeDecoder& decoder) {
  state->offset = decoder.offset;
  state->range = decoder.range;
  state->position = decoder.position;
}

int check(const gsb_range_state* state, int64_t size) {
  if (state->struct_size != sizeof(gsb_range_state)) {
    return fail(GSB_INTERNAL, "gsb_range_state: expected %zu bytes, got %u", sizeof(gsb_range_state),
                state->struct_size);
  }
  if (state->range < kLeastRange || state->position < 0 || state->position > size) {
    return fail(GSB_INTERNAL, "gsb_range_state: not the state of a coder of %lld bytes", static_cast<long long>(size));
  }
  return GSB_OK;
}

int check_tables(const uint32_t* tables, int64_t rows, int64_t columns, const int32_t* index, int64_t count) {
  if (columns < 2 || columns > kTotal + 1) {
    return fail(GSB_INVALID_ARGUMENT, "tables: expected 2 to %u columns, got %lld", kTotal + 1,
                static_cast<long long>(columns));
  }
  const int64_t bad = bad_table_row(tables, rows, columns);
  if (bad >= 0) {
    return fail(GSB_INVALID_ARGUMENT, "tables: row %lld does not rise strictly from 0 to %u",
                static_cast<long long>(bad), kTotal);
  }
  for (int64_t i = 0; i < count; ++i) {
    if (index[i] < 0 || index[i] >= rows) {
      return fail(GSB_INVALID_ARGUMENT, "index: expected 0 to %lld, got %d in place %lld",
                  static_cast<long long>(rows - 1), index[i], static_cast<long long>(i));
    }
  }
  return GSB_OK;
}

int check_scales(const uint8_t* scales, int64_t count) {
  uint8_t any = 0;
  for (int64_t i = 0; i < count; ++i) any |= scales[i];
  if (any < GaussianTables::kScales) return GSB_OK;
  for (int64_t i = 0; i < count; ++i) {
    if (scales[i] >= GaussianTables::kScales) {
      return fail(GSB_INVALID_ARGUMENT, "scale_index: expected 0 to %d, got %d in place %lld",
                  GaussianTables::kScales - 1, scales[i], static_cast<long long>(i));
    }
  }
  return GSB_OK;
}

int check_ones(const uint16_t* ones, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (ones[i] == 0) {
      return fail(GSB_INVALID_ARGUMENT, "ones: expected 1 to 65535, got 0 in place %lld", static_cast<long long>(i));
    }
  }
  return GSB_OK;
}

int check_contexts(const int32_t* contexts, int64_t count, int64_t limit) {
  for (int64_t i = 0; i < count; ++i) {
    if (contexts[i] < 0 || contexts[i] >= limit) {
      return fail(GSB_INVALID_ARGUMENT, "contexts: expected 0 to %lld, got %d in place %lld",
                  static_cast<long long>(limit - 1), contexts[i], static_cast<long long>(i));
    }
  }
  return GSB_OK;
}

// How every decoding function ends.
int decoded(gsb_range_state* state, const RangeDecoder& decoder, int64_t done) {
  if (done == kDamaged) return fail(GSB_DAMAGED, "the stream is damaged, ends early, or was coded with other tables");
  store(state, decoder);
  return GSB_OK;
}

GaussianTables tables_of(const gsb_gaussian_tables* from) { return {from->starts, from->offsets, from->sizes}; }

}  // namespace
}  // namespace gsb

extern "C" {

int32_t gsb_range_put(gsb_range_state* state, const int32_t* symbols, int64_t count, const uint32_t* tables,
                      int64_t rows, int64_t columns, const int32_t* index, uint8_t* out, int64_t capacity,
                      int64_t* done) {
  int status = gsb::check(state, capacity);
  if (status != GSB_OK) return status;
  if (*done == 0) {  // else the rest of what was checked before
    status = gsb::check_tables(tables, rows, columns, index, count);
    if (status != GSB_OK) return status;
    for (int64_t i = 0; i < count; ++i) {
      if (symbols[i] < 0 || symbols[i] >= columns - 1) {
        return gsb::fail(GSB_INVALID_ARGUMENT, "symbols: expected 0 to %lld, got %d in place %lld",
                         static_cast<long long>(columns - 2), symbols[i], static_cast<long long>(i));
      }
    }
  }
  gsb::RangeEncoder encoder = gsb::encoder_of(state, out, capacity);
  *done += gsb::put_symbols(&encoder, symbols + *done, count - *done, tables, columns, index + *done);
  gsb::store(state, encoder);
  return GSB_OK;
}

int32_t gsb_range_finish(gsb_range_state* state, uint8_t* out, int64_t capacity) {
  const int status = gsb::check(state, capacity - 8);
  if (status != GSB_OK) return status;
  gsb::RangeEncoder encoder = gsb::encoder_of(state, out, capacity);
  encoder.finish();
  gsb::store(state, encoder);
  return GSB_OK;
}

int32_t gsb_range_open(gsb_range_state* state, const uint8_t* data, int64_t size) {
  gsb::RangeDecoder decoder;
  decoder.data = data;
  decoder.size = size;
  decoder.open();
  gsb::store(state, decoder);
  return GSB_OK;
}

int32_t gsb_range_get(gsb_range_state* state, int32_t* symbols, int64_t count, const uint32_t* tables, int64_t rows,
                      int64_t columns, const int32_t* index, uint16_t* lookup, const uint8_t* data, int64_t size) {
  int status = gsb::check(state, size);
  if (status == GSB_OK) status = gsb::check_tables(tables, rows, columns, index, count);
  if (status != GSB_OK) return status;
  if (lookup != nullptr) gsb::index_tables(tables, rows, columns, lookup);
  gsb::RangeDecoder decoder = gsb::decoder_of(state, data, size);
  const int64_t done = gsb::get_symbols(&decoder, symbols, count, tables, columns, index, lookup);
  return gsb::decoded(state, decoder, done);
}

int32_t gsb_range_put_gaussian(gsb_range_state* state, const int32_t* symbols, const int32_t* means,
                               const uint8_t* scales, int64_t count, const gsb_gaussian_tables* tables, uint8_t* out,
                               int64_t capacity, int64_t* done) {
  int status = gsb::check(state, capacity);
  if (status == GSB_OK && *done == 0) status = gsb::check_scales(scales, count);
  if (status != GSB_OK) return status;
  gsb::RangeEncoder encoder = gsb::encoder_of(state, out, capacity);
  const int64_t from = *done;
  *done += gsb::put_gaussian(&encoder, symbols + from, means + from, scales + from, count - from,
                             gsb::tables_of(tables));
  gsb::store(state, encoder);
  return GSB_OK;
}

int32_t gsb_range_get_gaussian(gsb_range_state* state, int32_t* symbols, const int32_t* means, const uint8_t* scales,
                               int64_t count, const gsb_gaussian_tables* tables, const uint8_t* data, int64_t size) {
  int status = gsb::check(state, size);
  if (status == GSB_OK) status = gsb::check_scales(scales, count);
  if (status != GSB_OK) return status;
  gsb::RangeDecoder decoder = gsb::decoder_of(state, data, size);
  const int64_t done = gsb::get_gaussian(&decoder, symbols, means, scales, count, gsb::tables_of(tables));
  return gsb::decoded(state, decoder, done);
}

int32_t gsb_range_put_mixture(gsb_range_state* state, const int32_t* symbols, const int32_t* means,
                              const uint8_t* scales, const uint16_t* weights, int64_t count,
                              const gsb_gaussian_tables* tables, uint8_t* out, int64_t capacity, int64_t* done) {
  int status = gsb::check(state, capacity);
  if (status == GSB_OK && *done == 0) status = gsb::check_scales(scales, 2 * count);
  if (status == GSB_OK && *done == 0) status = gsb::check_ones(weights, count);
  if (status != GSB_OK) return status;
  gsb::RangeEncoder encoder = gsb::encoder_of(state, out, capacity);
  const int64_t from = *done;
  *done += gsb::put_mixture(&encoder, symbols + from, means + 2 * from, scales + 2 * from, weights + from,
                            count - from, gsb::tables_of(tables));
  gsb::store(state, encoder);
  return GSB_OK;
}

int32_t gsb_range_get_mixture(gsb_range_state* state, int32_t* symbols, const int32_t* means, const uint8_t* scales,
                              const uint16_t* weights, int64_t count, const gsb_gaussian_tables* tables,
                              const uint8_t* data, int64_t size) {
  int status = gsb::check(state, size);
  if (status == GSB_OK) status = gsb::check_scales(scales, 2 * count);
  if (status == GSB_OK) status = gsb::check_ones(weights, count);
  if (status != GSB_OK) return status;
  gsb::RangeDecoder decoder = gsb::decoder_of(state, data, size);
  const int64_t done = gsb::get_mixture(&decoder, symbols, means, scales, weights, count, gsb::tables_of(tables));
  return gsb::decoded(state, decoder, done);
}

int32_t gsb_range_put_bits(gsb_range_state* state, const uint8_t* bits, const uint16_t* ones, int64_t count,
                           uint8_t* out, int64_t capacity, int64_t* done) {
  int status = gsb::check(state, capacity);
  if (status == GSB_OK && *done == 0) status = gsb::check_ones(ones, count);
  if (status != GSB_OK) return status;
  gsb::RangeEncoder encoder = gsb::encoder_of(state, out, capacity);
  *done += gsb::put_bits(&encoder, bits + *done, ones + *done, count - *done);
  gsb::store(state, encoder);
  return GSB_OK;
}

int32_t gsb_range_get_bits(gsb_range_state* state, uint8_t* bits, const uint16_t* ones, int64_t count,
                           const uint8_t* data, int64_t size) {
  int status = gsb::check(state, size);
  if (status == GSB_OK) status = gsb::check_ones(ones, count);
  if (status != GSB_OK) return status;
  gsb::RangeDecoder decoder = gsb::decoder_of(state, data, size);
  const int64_t done = gsb::get_bits(&decoder, bits, ones, count);
  return gsb::decoded(state, decoder, done);
}

int32_t gsb_range_put_learned(gsb_range_state* state, const uint8_t* bits, const int32_t* contexts, int64_t count,
                              uint32_t* counts, int64_t context_count, uint8_t* out, int64_t capacity,
                              int64_t* done) {
  int status = gsb::check(state, capacity);
  if (status == GSB_OK && *done == 0) status = gsb::check_contexts(contexts, count, context_count);
  if (status != GSB_OK) return status;
  gsb::RangeEncoder encoder = gsb::encoder_of(state, out, capacity);
  *done += gsb::put_learned_bits(&encoder, bits + *done, contexts + *done, count - *done, counts);
  gsb::store(state, encoder);
  return GSB_OK;
}

int32_t gsb_range_get_learned(gsb_range_state* state, uint8_t* bits, const int32_t* contexts, int64_t count,
                              uint32_t* counts, int64_t context_count, const uint8_t* data, int64_t size) {
  int status = gsb::check(state, size);
  if (status == GSB_OK) status = gsb::check_contexts(contexts, count, context_count);
  if (status != GSB_OK) return status;
  gsb::RangeDecoder decoder = gsb::decoder_of(state, data, size);
  const int64_t done = gsb::get_learned_bits(&decoder, bits, contexts, count, counts);
  return gsb::decoded(state, decoder, done);
}

int32_t gsb_range_close(gsb_range_state* state, const uint8_t* data, int64_t size) {
  const int status = gsb::check(state, size);
  if (status != GSB_OK) return status;
  if (gsb::decoder_of(state, data, size).at_end()) return GSB_OK;
  return gsb::fail(GSB_DAMAGED, "the stream does not end with its last symbol");
}

}  // extern "C"
