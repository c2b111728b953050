#include "coding/octree.h"

#include <algorithm>
#include <utility>

#include "coding/symbols.h"

namespace gsb {
namespace {

// ---- Probabilities in the logistic domain (Mahoney 2005), with integers alone ----
//
// st(p) = ln(p / (1 - p)) in 1/256; sq is its inverse, in 1/2^16.

constexpr int kMostStretch = 2815;  // 11 in 1/256: odds of 60,000

struct Logistic {
  uint16_t squash[2 * kMostStretch + 1];
  int16_t stretch[4096];

  Logistic() {
    uint64_t power = uint64_t{1} << 32;  // e^(-k/256) in 2^-32, by repeated multiplication
    constexpr uint64_t kStep = 4278222805u;  // e^(-1/256) in 2^-32
    for (int k = 0; k <= kMostStretch; ++k) {
      const uint64_t sum = (uint64_t{1} << 32) + power;
      const uint64_t above = (uint64_t{1} << 48) / sum;  // 2^16 / (1 + e^-x)
      squash[kMostStretch + k] = static_cast<uint16_t>(std::min<uint64_t>(above, kTotal - 1));
      squash[kMostStretch - k] = static_cast<uint16_t>(std::max<uint64_t>(kTotal - above, 1));
      power = (power * kStep) >> 32;
    }
    int x = 0;
    for (int p = 0; p < 4096; ++p) {
      while (x < 2 * kMostStretch && squash[x] < p * 16 + 8) ++x;
      stretch[p] = static_cast<int16_t>(x - kMostStretch);
    }
  }
};

const Logistic& logistic() {
  static const Logistic tables;
  return tables;
}

// A probability of a 1 that becomes slower to move the more it has seen.
struct Counter {
  uint16_t one;  // in 1/2^16
  uint16_t seen;

  void learn(bool bit, const uint32_t* rates) {
    const int32_t target = bit ? 65535 : 0;
    one = static_cast<uint16_t>(one + (((target - int32_t{one}) * static_cast<int64_t>(rates[seen])) >> 16));
    if (seen < 254) ++seen;
  }
};

constexpr int kModels = 5;
constexpr int kPartials = 256;     // children so far, behind a leading 1
constexpr int kHashedBits = 16;

// What is known about a node before its code.
struct NodeContext {
  int neighbors;      // bit per face neighbor that exists: -x +x -y +y -z +z
  int siblings;       // of the parent's children, 1 to 8
  int place;          // among them, 0 to 7
  int previous;       // code of the node before
  bool sparse;        // neighbors were not looked up
};

class CodeModel {
 public:
  CodeModel() : tables_(logistic()) {
    for (int n = 0; n < 255; ++n) rates_[n] = 65536u * 2 / (2 * n + 3);
    for (auto& set : weights_) std::fill(set, set + kModels, 65536 * 3 / 10);
    for (int i = 0; i < kModels; ++i) counters_[i].assign(kSizes[i], Counter{0, 0});
    for (int partial = 1; partial < kPartials; ++partial) first_[partial] = first_guess(partial);
  }

  // Calls code(bit or -1, probability of 1) for each child whose bit is not certain; it returns the bit.
  template <typename Code>
  int run(const NodeContext& node, int known, Code&& code) {
    int partial = 1;
    for (int child = 0; child < 8; ++child) {
      if (child == 7 && partial == 1 << 7) return 1;  // a node without children does not exist
      Counter* inputs[kModels];
      select(node, partial, child, inputs);
      int32_t stretched[kModels];
      const int count = __builtin_popcount(static_cast<unsigned>(partial)) - 1;
      int32_t* weights = weights_[child * 3 + std::min(count, 2)];
      int64_t sum = 0;
      for (int i = 0; i < kModels; ++i) {
        if (inputs[i]->seen == 0) inputs[i]->one = first_[partial];
        stretched[i] = tables_.stretch[inputs[i]->one >> 4];
        sum += int64_t{weights[i]} * stretched[i];
      }
      const int x = static_cast<int>(std::clamp<int64_t>(sum >> 16, -kMostStretch, kMostStretch));
      const uint32_t one = tables_.squash[x + kMostStretch];
      const bool bit = code(known < 0 ? -1 : known >> (7 - child) & 1, one);
      const int32_t error = (bit ? 65536 : 0) - static_cast<int32_t>(one);
      for (int i = 0; i < kModels; ++i) {
        weights[i] += static_cast<int32_t>((int64_t{stretched[i]} * error * kRate + (1 << 19)) >> 20);
        inputs[i]->learn(bit, rates_);
      }
      partial = partial << 1 | bit;
    }
    return partial & 255;
  }

 private:
  static constexpr int kRate = 6;
  static constexpr size_t kSizes[kModels] = {kPartials, 2 * 8 * 8, 64 * kPartials, 2 * 8 * 8 * 4 * 4, 1 << kHashedBits};

  // What a counter expects that has seen nothing: one child, at any place.
  static uint16_t first_guess(int partial) {
    const int width = 31 - __builtin_clz(static_cast<unsigned>(partial));  // children so far
    if (partial == 1 << width) return static_cast<uint16_t>(65535 / (8 - width));
    return 65536 / 8;
  }

  void select(const NodeContext& node, int partial, int child, Counter** inputs) {
    const int count = __builtin_popcount(static_cast<unsigned>(partial)) - 1;
    const int sparse = node.sparse ? 1 : 0;
    // Of the three face neighbors that touch this child, how many exist.
    const int touching = (node.neighbors >> (child >> 2 & 1) & 1) + (node.neighbors >> (2 + (child >> 1 & 1)) & 1) +
                         (node.neighbors >> (4 + (child & 1)) & 1);
    inputs[0] = &counters_[0][static_cast<size_t>(partial)];
    inputs[1] = &counters_[1][static_cast<size_t>((sparse * 8 + child) * 8 + count)];
    inputs[2] = &counters_[2][static_cast<size_t>(node.neighbors * kPartials + partial)];
    inputs[3] = &counters_[3][static_cast<size_t>(
        (((sparse * 8 + child) * 8 + node.siblings - 1) * 4 + std::min(count, 3)) * 4 + touching)];
    const uint32_t mixed = static_cast<uint32_t>(((node.previous * 8 + node.place) * 256 + partial)) * 2654435761u;
    inputs[4] = &counters_[4][mixed >> (32 - kHashedBits)];
  }

  const Logistic& tables_;
  uint32_t rates_[255];
  uint16_t first_[kPartials] = {};
  int32_t weights_[24][kModels];
  std::vector<Counter> counters_[kModels];
};

// ---- Nodes ----

uint64_t spread(uint64_t x) {  // bit i to bit 3 i
  x = (x | x << 32) & 0x1f00000000ffffull;
  x = (x | x << 16) & 0x1f0000ff0000ffull;
  x = (x | x << 8) & 0x100f00f00f00f00full;
  x = (x | x << 4) & 0x10c30c30c30c30c3ull;
  return (x | x << 2) & 0x1249249249249249ull;
}

uint32_t gathered(uint64_t x) {
  x &= 0x1249249249249249ull;
  x = (x ^ x >> 2) & 0x10c30c30c30c30c3ull;
  x = (x ^ x >> 4) & 0x100f00f00f00f00full;
  x = (x ^ x >> 8) & 0x1f0000ff0000ffull;
  x = (x ^ x >> 16) & 0x1f00000000ffffull;
  return static_cast<uint32_t>((x ^ x >> 32) & 0x1fffffull);
}

// Which nodes of one level exist: open addressing.
class NodeSet {
 public:
  void fill(const std::vector<uint64_t>& nodes) {
    int bits = 4;
    while ((size_t{1} << bits) < 2 * nodes.size()) ++bits;
    shift_ = 64 - bits;
    slots_.assign(size_t{1} << bits, kNone);
    for (const uint64_t node : nodes) {
      size_t at = place(node);
      while (slots_[at] != kNone) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = node;
    }
  }

  bool has(uint64_t node) const {
    for (size_t at = place(node);; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at] == node) return true;
      if (slots_[at] == kNone) return false;
    }
  }

 private:
  static constexpr uint64_t kNone = ~uint64_t{0};
  size_t place(uint64_t node) const { return (node * 0x9e3779b97f4a7c15ull) >> shift_; }
  std::vector<uint64_t> slots_;
  int shift_ = 0;
};

constexpr uint64_t kAxis[3] = {0x4924924924924924ull, 0x2492492492492492ull, 0x1249249249249249ull};  // x, y, z

// The six face neighbors of a node at a level with `bits` bits per axis.
int neighbors_of(const NodeSet& set, uint64_t node, int bits) {
  const uint64_t inside = bits == 0 ? 0 : ~uint64_t{0} >> (64 - 3 * bits);
  int found = 0;
  for (int axis = 0; axis < 3; ++axis) {
    const uint64_t mask = kAxis[axis] & inside, own = node & mask, rest = node & ~mask;
    // Dilated integers: the bits between carry a carry through, or a borrow.
    if (own != 0 && set.has(rest | ((own - 1) & mask))) found |= 1 << (2 * axis);
    if (own != mask && set.has(rest | (((own | ~mask) + 1) & mask))) found |= 2 << (2 * axis);
  }
  return found;
}

// Walks the tree breadth first. next_code(node, its level, context) returns the code of a node; false ends the walk.
template <typename NextCode>
bool walk(int depth, int64_t most_nodes, std::vector<uint64_t>* leaves, NextCode&& next_code) {
  std::vector<uint64_t> nodes = {0}, children;
  std::vector<uint8_t> family = {0}, child_family;  // place among the siblings | (siblings - 1) << 3
  NodeSet set;
  size_t parents = 1;
  int previous = 0;
  for (int level = 0; level < depth; ++level) {
    NodeContext context = {};
    context.sparse = nodes.size() * 10 < parents * 11;
    if (!context.sparse) set.fill(nodes);
    children.clear();
    child_family.clear();
    for (size_t i = 0; i < nodes.size(); ++i) {
      context.neighbors = context.sparse ? 0 : neighbors_of(set, nodes[i], level);
      context.siblings = (family[i] >> 3) + 1;
      context.place = family[i] & 7;
      context.previous = previous;
      const int code = next_code(nodes[i], level, context);
      if (code <= 0) return false;
      const int count = __builtin_popcount(static_cast<unsigned>(code));
      if (static_cast<int64_t>(children.size()) + count > most_nodes) return false;
      int place = 0;
      for (int child = 0; child < 8; ++child) {
        if (!(code >> (7 - child) & 1)) continue;
        children.push_back(nodes[i] << 3 | static_cast<uint64_t>(child));
        child_family.push_back(static_cast<uint8_t>(place++ | (count - 1) << 3));
      }
      previous = code;
    }
    parents = nodes.size();
    nodes.swap(children);
    family.swap(child_family);
  }
  leaves->swap(nodes);
  return true;
}

// How often a point occurs beyond the first time: unary with learned bits, from kMostUnary on by Elias' gamma code.
constexpr int kMostUnary = 16;

struct Repeats {
  uint32_t counts[kMostUnary][2] = {};

  uint32_t zeros(int i) const {
    const uint64_t all = uint64_t{counts[i][0]} + counts[i][1];
    return std::clamp<uint32_t>(
        static_cast<uint32_t>(((2 * uint64_t{counts[i][0]} + 1) << kTotalBits) / (2 * all + 2)), 1, kTotal - 1);
  }
};

class Output {
 public:
  RangeEncoder* with_room() {
    if (!encoder_.room(kGammaRoom)) {
      buffer_.resize(2 * buffer_.size() + 4096);
      encoder_.out = buffer_.data();
      encoder_.capacity = static_cast<int64_t>(buffer_.size());
    }
    return &encoder_;
  }

  std::vector<uint8_t> finished() {
    with_room()->finish();
    buffer_.resize(static_cast<size_t>(encoder_.size));
    return std::move(buffer_);
  }

 private:
  std::vector<uint8_t> buffer_;
  RangeEncoder encoder_;
};

struct Keyed {
  uint64_t key;
  int64_t index;
};

std::vector<Keyed> sorted(const int32_t* points, int64_t count) {
  std::vector<Keyed> keys(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const int32_t* p = points + 3 * i;
    keys[static_cast<size_t>(i)] = {spread(static_cast<uint64_t>(p[0])) << 2 |
                                        spread(static_cast<uint64_t>(p[1])) << 1 | spread(static_cast<uint64_t>(p[2])),
                                    i};
  }
  std::sort(keys.begin(), keys.end(), [](const Keyed& a, const Keyed& b) {
    return a.key != b.key ? a.key < b.key : a.index < b.index;
  });
  return keys;
}

// Gives the code of each node in turn, breadth first, from sorted keys: every level's nodes are runs of them.
class CodeSource {
 public:
  CodeSource(const std::vector<Keyed>& keys, int depth) : keys_(keys), depth_(depth) {}

  int next(int level) {
    if (level != level_) {
      level_ = level;
      at_ = 0;
    }
    const int shift = 3 * (depth_ - 1 - level);  // to the child's code
    const uint64_t node = keys_[at_].key >> shift >> 3;
    int code = 0;
    for (; at_ < keys_.size() && keys_[at_].key >> shift >> 3 == node; ++at_) {
      code |= 128 >> (keys_[at_].key >> shift & 7);
    }
    return code;
  }

 private:
  const std::vector<Keyed>& keys_;
  int depth_;
  int level_ = -1;
  size_t at_ = 0;
};

}  // namespace

std::vector<uint8_t> encode_octree(const int32_t* points, int64_t count, int depth, int64_t* order) {
  Output out;
  const std::vector<Keyed> keys = sorted(points, count);
  for (int64_t i = 0; i < count; ++i) order[i] = keys[static_cast<size_t>(i)].index;
  if (count == 0) return out.finished();
  CodeSource source(keys, depth);
  CodeModel model;
  std::vector<uint64_t> leaves;
  walk(depth, count, &leaves, [&](uint64_t, int level, const NodeContext& context) {
    const int code = source.next(level);
    RangeEncoder* encoder = out.with_room();
    model.run(context, code, [&](int bit, uint32_t one) {
      encoder->put(bit ? kTotal - one : 0, bit ? one : kTotal - one);
      return bit != 0;
    });
    return code;
  });
  const bool repeated = static_cast<int64_t>(leaves.size()) < count;
  out.with_room()->put_uniform(repeated, 1);
  if (repeated) {
    Repeats repeats;
    size_t at = 0;
    for (const uint64_t leaf : leaves) {
      uint64_t extra = 0;
      for (++at; at < keys.size() && keys[at].key == leaf; ++at) ++extra;
      RangeEncoder* encoder = out.with_room();
      for (int i = 0; i < kMostUnary; ++i) {
        const bool more = extra > static_cast<uint64_t>(i);
        const uint32_t zeros = repeats.zeros(i);
        encoder->put(more ? zeros : 0, more ? kTotal - zeros : zeros);
        ++repeats.counts[i][more];
        if (!more) break;
      }
      if (extra >= kMostUnary) put_gamma(out.with_room(), extra - kMostUnary);
    }
  }
  return out.finished();
}

bool decode_octree(const uint8_t* data, int64_t size, int64_t count, int depth, int32_t* points) {
  RangeDecoder decoder;
  decoder.data = data;
  decoder.size = size;
  decoder.open();
  if (count == 0) return decoder.at_end();
  CodeModel model;
  std::vector<uint64_t> leaves;
  const bool good = walk(depth, count, &leaves, [&](uint64_t, int, const NodeContext& context) {
    bool fine = true;
    const int code = model.run(context, -1, [&](int, uint32_t one) {
      const int bit = fine ? decoder.take_bit(kTotal - one) : 1;
      fine &= bit >= 0;
      return bit != 0;
    });
    return fine && !decoder.exhausted() ? code : -1;
  });
  uint32_t repeated = 0;
  if (!good || !decoder.take_uniform(1, &repeated)) return false;
  if (!repeated && static_cast<int64_t>(leaves.size()) != count) return false;
  Repeats repeats;
  int64_t at = 0;
  for (const uint64_t leaf : leaves) {
    uint64_t extra = 0;
    if (repeated) {
      for (int i = 0; i < kMostUnary; ++i) {
        const int more = decoder.take_bit(repeats.zeros(i));
        if (more < 0) return false;
        ++repeats.counts[i][more];
        if (more == 0) break;
        ++extra;
      }
      if (extra == kMostUnary) {
        uint64_t further;
        if (!get_gamma(&decoder, &further)) return false;
        extra += further;
      }
      if (decoder.exhausted()) return false;
    }
    if (extra >= static_cast<uint64_t>(count - at)) return false;
    const int32_t x = static_cast<int32_t>(gathered(leaf >> 2)), y = static_cast<int32_t>(gathered(leaf >> 1));
    const int32_t z = static_cast<int32_t>(gathered(leaf));
    for (uint64_t i = 0; i <= extra; ++i, ++at) {
      points[3 * at] = x;
      points[3 * at + 1] = y;
      points[3 * at + 2] = z;
    }
  }
  return at == count && decoder.at_end();
}

std::vector<uint8_t> octree_codes(const int32_t* points, int64_t count, int depth) {
  std::vector<uint8_t> codes;
  if (count == 0) return codes;
  const std::vector<Keyed> keys = sorted(points, count);
  CodeSource source(keys, depth);
  std::vector<uint64_t> leaves;
  walk(depth, count, &leaves, [&](uint64_t, int level, const NodeContext&) {
    codes.push_back(static_cast<uint8_t>(source.next(level)));
    return int{codes.back()};
  });
  return codes;
}

}  // namespace gsb
