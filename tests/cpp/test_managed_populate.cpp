#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "managed_fixture.h"
#include "store/managed/populate.h"

using namespace managed_test;

namespace {

/// Pages of the system in `memory` that are there.
std::size_t present(std::span<std::byte> memory) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    std::vector<unsigned char> flags((memory.size() + page - 1) / page);
    REQUIRE(mincore(memory.data(), memory.size(), flags.data()) == 0);
    return static_cast<std::size_t>(
        std::count_if(flags.begin(), flags.end(), [](unsigned char flag) { return flag & 1; }));
}

/// The kernel may be too old for the advice.
bool kernel_populates() {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    void *memory = mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const bool done = madvise(memory, page, MADV_POPULATE_WRITE) == 0;
    munmap(memory, page);
    if (!done) MESSAGE("skipped: this kernel does not know MADV_POPULATE_WRITE");
    return done;
}

}  // namespace

TEST_CASE("managed populate: private memory gets its pages at once, small memory none") {
    if (!kernel_populates()) return;
    constexpr std::size_t size = 2 * kPopulate;
    void *fresh = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const std::span memory(static_cast<std::byte *>(fresh), size);
    populate_private(memory.first(kPopulate / 2));
    CHECK(present(memory) == 0);
    populate_private(memory);
    CHECK(present(memory) == size / static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
    munmap(fresh, size);
}

TEST_CASE("managed populate: of a segment just the pages of the value, once, and again after a fork") {
    if (!kernel_populates()) return;
    const auto segment = make_segment();
    const auto area = [&](std::uint32_t page, std::uint32_t count) {
        return std::span(segment->data(segment->units_of_page(page), kPage * count), kPage * count);
    };
    const std::size_t each = kPage / static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    Populated populated(*segment);
    populated.populate(*segment, area(3, 5));
    CHECK(present(area(0, 3)) == 0);
    CHECK(present(area(3, 5)) == 5 * each);
    CHECK(present(area(8, 8)) == 0);
    populated.populate(*segment, area(0, 16));
    CHECK(present(area(0, 16)) == 16 * each);

    // Taken away behind its back: it does not look at what it knows, until it forgets.
    REQUIRE(madvise(area(0, 16).data(), 16 * kPage, MADV_REMOVE) == 0);
    populated.populate(*segment, area(0, 16));
    CHECK(present(area(0, 16)) == 0);
    populated.forget();
    populated.populate(*segment, area(0, 16));
    CHECK(present(area(0, 16)) == 16 * each);
}
