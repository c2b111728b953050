// Exact nearest neighbors. The points are sorted along a Z-order curve; every node of a complete binary tree is a range of
// them with a bounding box, and its children halve the range. The search is that of csrc/cpu/knn.cpp, in double
// precision; what it finds depends on no tree, so that both give the same bits.
#pragma once

#include "cuda/launch.h"

namespace gsb {
namespace cuda {

constexpr int64_t kLeafPoints = 8;  // at most
constexpr int kMostNeighbors = 8;
constexpr int kMostLevels = 32;

struct TreePoint {
  float at[3];
  int32_t index;  // in the caller's array
};

struct TreeBox {
  float low[3], high[3];
};

// Node 0 is the root, the children of i are 2 i + 1 and 2 i + 2, and the nodes of the last level are the leaves.
struct PointTree {
  const float* input;  // [count, 3]
  int64_t count;
  int levels;          // below the root
  int neighbors;
  int32_t* bounds;     // [6]: of all points, as ordered integers; lows are negated
  uint64_t* keys;      // [2, count]
  int32_t* order;      // [2, count]
  TreePoint* points;   // [count]
  TreeBox* boxes;      // [2^(levels + 1) - 1]
  float* distances;    // [count]
};

GSB_HD int levels_for(int64_t count) {
  int levels = 0;
  while (((count - 1) >> levels) + 1 > kLeafPoints) ++levels;
  return levels;
}

// Integers that order like the floats.
GSB_HD int32_t ordered(float x) {
  const int32_t bits = bits_of(x);
  return bits < 0 ? bits ^ 0x7fffffff : bits;
}
GSB_HD float from_ordered(int32_t value) { return float_of(value < 0 ? value ^ 0x7fffffff : value); }

struct ResetBounds {
  PointTree tree;
  GSB_HD void operator()(int64_t i) const { tree.bounds[i] = INT32_MIN; }
};

// The bounding box of all points; a block takes 4096 of them.
struct BoundPoints {
  static constexpr int kThreads = 256, kPerThread = 16, kPerBlock = kThreads * kPerThread;
  struct Shared {
    int32_t most[kThreads][6];
  };
  PointTree tree;

  template <class B>
  GSB_HD void operator()(B& block, Shared& shared, int64_t index) const {
    block.each([&](int t) {
      for (int k = 0; k < 6; ++k) shared.most[t][k] = INT32_MIN;
      for (int i = 0; i < kPerThread; ++i) {
        const int64_t point = index * kPerBlock + i * kThreads + t;
        for (int axis = 0; axis < 3 && point < tree.count; ++axis) {
          const float x = tree.input[3 * point + axis];
          shared.most[t][axis] = max_of(shared.most[t][axis], ordered(-x));
          shared.most[t][3 + axis] = max_of(shared.most[t][3 + axis], ordered(x));
        }
      }
    });
    for (int half = kThreads / 2; half > 0; half /= 2) {
      block.barrier();
      block.each([&](int t) {
        for (int k = 0; k < 6 && t < half; ++k) shared.most[t][k] = max_of(shared.most[t][k], shared.most[t + half][k]);
      });
    }
    block.barrier();
    block.each([&](int t) {
      if (t < 6) max_atomic(tree.bounds + t, shared.most[0][t]);
    });
  }
};

// Every third bit of the result is one of the 21 lowest of x.
GSB_HD uint64_t spread_bits(uint64_t x) {
  x = (x | x << 32) & 0x1f00000000ffffull;
  x = (x | x << 16) & 0x1f0000ff0000ffull;
  x = (x | x << 8) & 0x100f00f00f00f00full;
  x = (x | x << 4) & 0x10c30c30c30c30c3ull;
  return (x | x << 2) & 0x1249249249249249ull;
}

struct OrderPoints {
  PointTree tree;

  GSB_HD void operator()(int64_t i) const {
    uint64_t key = 0;
    for (int axis = 0; axis < 3; ++axis) {
      const double low = -double(from_ordered(tree.bounds[axis])), high = double(from_ordered(tree.bounds[3 + axis]));
      const double share = high > low ? (double(tree.input[3 * i + axis]) - low) / (high - low) : 0.0;
      const int64_t cell = int64_t(share * 2097151.0);
      key |= spread_bits(uint64_t(cell < 0 ? 0 : cell > 2097151 ? 2097151 : cell)) << axis;
    }
    tree.keys[i] = key;
    tree.order[i] = int32_t(i);
  }
};

struct CopyPoints {
  PointTree tree;
  const int32_t* order;

  GSB_HD void operator()(int64_t i) const {
    const int32_t from = order[i];
    tree.points[i] = {{tree.input[3 * int64_t(from)], tree.input[3 * int64_t(from) + 1], tree.input[3 * int64_t(from) + 2]},
                      from};
  }
};

struct TreeNode {
  int32_t index, begin, end;
};

GSB_HD TreeNode left_child(const TreeNode& n) { return {2 * n.index + 1, n.begin, n.begin + (n.end - n.begin) / 2}; }
GSB_HD TreeNode right_child(const TreeNode& n) { return {2 * n.index + 2, n.begin + (n.end - n.begin) / 2, n.end}; }

// One thread per leaf.
struct BoxLeaves {
  PointTree tree;

  GSB_HD void operator()(int64_t leaf) const {
    TreeNode node = {0, 0, int32_t(tree.count)};
    for (int level = tree.levels - 1; level >= 0; --level) {
      node = leaf >> level & 1 ? right_child(node) : left_child(node);
    }
    TreeBox box;
    for (int axis = 0; axis < 3; ++axis) {
      box.low[axis] = box.high[axis] = tree.points[node.begin].at[axis];
      for (int32_t i = node.begin + 1; i < node.end; ++i) {
        box.low[axis] = min_of(box.low[axis], tree.points[i].at[axis]);
        box.high[axis] = max_of(box.high[axis], tree.points[i].at[axis]);
      }
    }
    tree.boxes[node.index] = box;
  }
};

// One thread per node of a level, whose children have their boxes.
struct BoxNodes {
  PointTree tree;
  int64_t first;  // the level's first node

  GSB_HD void operator()(int64_t i) const {
    const TreeBox& a = tree.boxes[2 * (first + i) + 1];
    const TreeBox& b = tree.boxes[2 * (first + i) + 2];
    TreeBox box;
    for (int axis = 0; axis < 3; ++axis) {
      box.low[axis] = min_of(a.low[axis], b.low[axis]);
      box.high[axis] = max_of(a.high[axis], b.high[axis]);
    }
    tree.boxes[first + i] = box;
  }
};

GSB_HD double squared_distance(const TreePoint& a, const TreePoint& b) {
  double sum = 0.0;
  for (int axis = 0; axis < 3; ++axis) {
    const double difference = double(a.at[axis]) - double(b.at[axis]);
    sum += difference * difference;
  }
  return sum;
}

GSB_HD double squared_distance(const TreePoint& point, const TreeBox& box) {
  double sum = 0.0;
  for (int axis = 0; axis < 3; ++axis) {
    const double below = double(box.low[axis]) - double(point.at[axis]);
    const double above = double(point.at[axis]) - double(box.high[axis]);
    const double outside = max_of(max_of(below, above), 0.0);
    sum += outside * outside;
  }
  return sum;
}

// One thread per point, in the order of the curve.
struct SearchNeighbors {
  PointTree tree;

  GSB_HD void operator()(int64_t self) const {
    const TreePoint point = tree.points[self];
    double nearest[kMostNeighbors];
    for (int k = 0; k < kMostNeighbors; ++k) nearest[k] = double(float_of(0x7f800000));
    const int wanted = tree.neighbors;
    struct Pending {
      TreeNode node;
      double square;
    };
    Pending stack[kMostLevels];
    int pending = 0;
    stack[pending++] = {{0, 0, int32_t(tree.count)}, 0.0};
    const int32_t first_leaf = int32_t((int64_t(1) << tree.levels) - 1);
    while (pending > 0) {
      const Pending next = stack[--pending];
      if (!(next.square < nearest[wanted - 1])) continue;
      TreeNode node = next.node;
      while (node.index < first_leaf) {
        TreeNode near = left_child(node), far = right_child(node);
        double near_square = squared_distance(point, tree.boxes[near.index]);
        double far_square = squared_distance(point, tree.boxes[far.index]);
        // Inside both boxes (many equal points), stay with one's own half.
        if (far_square < near_square || (far_square == near_square && self >= far.begin)) {
          const TreeNode swapped = near;
          near = far;
          far = swapped;
          const double square = near_square;
          near_square = far_square;
          far_square = square;
        }
        stack[pending++] = {far, far_square};
        node = near;
      }
      for (int32_t other = node.begin; other < node.end; ++other) {
        if (other == self) continue;
        const double square = squared_distance(point, tree.points[other]);
        if (!(square < nearest[wanted - 1])) continue;
        int place = wanted - 1;
        for (; place > 0 && square < nearest[place - 1]; --place) nearest[place] = nearest[place - 1];
        nearest[place] = square;
      }
    }
    double sum = 0.0;
    for (int k = 0; k < wanted; ++k) sum += sqrt_of(nearest[k]);
    tree.distances[point.index] = float(sum / double(wanted));
  }
};

}  // namespace cuda
}  // namespace gsb
