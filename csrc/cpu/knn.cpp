// Exact nearest neighbors by a balanced k-d tree (Friedman, Bentley and Finkel 1977). The points are sorted so that
// every node is a range of them, split at its median along the longest side of its bounding box; depth and build time
// do not depend on how the points lie. Distances are computed in double, where the square of a difference of floats
// neither overflows nor loses what a float result could show.
#include "cpu/knn.h"

#include <algorithm>
#include <cmath>

namespace gsb {
namespace {

constexpr int64_t kLeafPoints = 12;           // at most
constexpr int64_t kPointsPerTask = 1 << 14;   // smaller subtrees are built by one thread
constexpr int kMostLevels = 40;

struct Point {
  float at[3];
  int32_t index;  // in the caller's array
};

struct Box {
  float low[3], high[3];
};

// A complete binary tree: node 0 is the root, the children of i are 2 i + 1 and 2 i + 2, and the nodes of the last
// level are the leaves. The points of a node are [begin, end); its children halve the range.
struct Tree {
  Point* points;
  Box* boxes;
  int64_t count;
  int levels;  // below the root
};

struct Node {
  int64_t index, begin, end;
  int level;
};

int levels_for(int64_t count) {
  int levels = 0;
  while (((count - 1) >> levels) + 1 > kLeafPoints) ++levels;
  return levels;
}

int64_t nodes_for(int levels) { return (int64_t{2} << levels) - 1; }

Node left_child(const Node& node) {
  return {2 * node.index + 1, node.begin, node.begin + (node.end - node.begin) / 2, node.level + 1};
}

Node right_child(const Node& node) {
  return {2 * node.index + 2, node.begin + (node.end - node.begin) / 2, node.end, node.level + 1};
}

Box bounding_box(const Point* begin, const Point* end) {
  Box box;
  for (int axis = 0; axis < 3; ++axis) box.low[axis] = box.high[axis] = begin->at[axis];
  for (const Point* point = begin + 1; point < end; ++point) {
    for (int axis = 0; axis < 3; ++axis) {
      box.low[axis] = std::min(box.low[axis], point->at[axis]);
      box.high[axis] = std::max(box.high[axis], point->at[axis]);
    }
  }
  return box;
}

int longest_side(const Box& box) {
  int longest = 0;
  double length = -1.0;
  for (int axis = 0; axis < 3; ++axis) {
    const double side = double{box.high[axis]} - box.low[axis];
    if (side > length) {
      length = side;
      longest = axis;
    }
  }
  return longest;
}

void build(const Tree& tree, const Node& node) {
  Point* const begin = tree.points + node.begin;
  Point* const end = tree.points + node.end;
  const Box box = bounding_box(begin, end);
  tree.boxes[node.index] = box;
  if (node.level == tree.levels) return;
  const Node left = left_child(node), right = right_child(node);
  const int axis = longest_side(box);
  std::nth_element(begin, tree.points + right.begin, end,
                   [axis](const Point& a, const Point& b) { return a.at[axis] < b.at[axis]; });
#pragma omp task firstprivate(left) if (node.end - node.begin > kPointsPerTask)
  build(tree, left);
  build(tree, right);
}

// The squared distances to the nearest points so far, ascending.
class Nearest {
 public:
  explicit Nearest(int wanted) : wanted_(wanted) { std::fill_n(squares_, kMostNeighbors, INFINITY); }

  double farthest() const { return squares_[wanted_ - 1]; }

  void add(double square) {
    if (!(square < farthest())) return;
    int place = wanted_ - 1;
    for (; place > 0 && square < squares_[place - 1]; --place) squares_[place] = squares_[place - 1];
    squares_[place] = square;
  }

  double mean_distance() const {
    double sum = 0.0;
    for (int i = 0; i < wanted_; ++i) sum += std::sqrt(squares_[i]);
    return sum / wanted_;
  }

 private:
  int wanted_;
  double squares_[kMostNeighbors];
};

double squared_distance(const Point& a, const Point& b) {
  double sum = 0.0;
  for (int axis = 0; axis < 3; ++axis) {
    const double difference = double{a.at[axis]} - b.at[axis];
    sum += difference * difference;
  }
  return sum;
}

double squared_distance(const Point& point, const Box& box) {
  double sum = 0.0;
  for (int axis = 0; axis < 3; ++axis) {
    const double below = double{box.low[axis]} - point.at[axis], above = double{point.at[axis]} - box.high[axis];
    const double outside = std::max(std::max(below, above), 0.0);
    sum += outside * outside;
  }
  return sum;
}

// Neighbors of tree.points[self]: a depth-first walk that enters the nearer child first and passes by every box that is
// no nearer than the neighbors found.
double mean_distance(const Tree& tree, int64_t self, int neighbors) {
  const Point point = tree.points[self];
  Nearest nearest(neighbors);
  struct Pending {
    Node node;
    double square;
  };
  Pending stack[kMostLevels];
  int pending = 0;
  stack[pending++] = {{0, 0, tree.count, 0}, 0.0};
  while (pending > 0) {
    const Pending next = stack[--pending];
    if (!(next.square < nearest.farthest())) continue;
    Node node = next.node;
    while (node.level < tree.levels) {
      Node near = left_child(node), far = right_child(node);
      double near_square = squared_distance(point, tree.boxes[near.index]);
      double far_square = squared_distance(point, tree.boxes[far.index]);
      // Inside both boxes (many equal points), stay with one's own half.
      if (far_square < near_square || (far_square == near_square && self >= far.begin)) {
        std::swap(near, far);
        std::swap(near_square, far_square);
      }
      stack[pending++] = {far, far_square};
      node = near;
    }
    for (int64_t other = node.begin; other < node.end; ++other) {
      if (other != self) nearest.add(squared_distance(point, tree.points[other]));
    }
  }
  return nearest.mean_distance();
}

}  // namespace

int64_t knn_workspace_bytes(int64_t count) {
  if (count < 2) return 0;
  return count * int64_t{sizeof(Point)} + nodes_for(levels_for(count)) * int64_t{sizeof(Box)};
}

void knn_mean_distance(const float* points, int64_t count, int neighbors, float* distances, void* workspace,
                       int threads) {
  if (count < 2) {
    std::fill_n(distances, count, 0.0f);
    return;
  }
  Tree tree;
  tree.points = static_cast<Point*>(workspace);
  tree.boxes = reinterpret_cast<Box*>(tree.points + count);
  tree.count = count;
  tree.levels = levels_for(count);
  const int wanted = static_cast<int>(std::min<int64_t>(neighbors, count - 1));

#pragma omp parallel num_threads(threads)
  {
#pragma omp for
    for (int64_t i = 0; i < count; ++i) {
      tree.points[i] = {{points[3 * i], points[3 * i + 1], points[3 * i + 2]}, static_cast<int32_t>(i)};
    }
#pragma omp single
    build(tree, {0, 0, count, 0});  // ends with a barrier, where the tasks run
#pragma omp for schedule(dynamic, 512)
    for (int64_t i = 0; i < count; ++i) {
      distances[tree.points[i].index] = static_cast<float>(mean_distance(tree, i, wanted));
    }
  }
}

}  // namespace gsb
