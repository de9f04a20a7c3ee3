// Whole pages of the data area, for slabs of small chunks and for large values.
//
// page_map says where each slab and run starts and how long it is; that is the truth.  page_bits is its
// index, one bit for each used page.  First fit from the lowest address: what was freed last near the front
// is reused first, and a page that was touched before costs a tenth of a fresh one.
#pragma once

#include "store/managed/robust_mutex.h"
#include "store/managed/segment.h"

namespace offgil::store::managed {

enum class Room {
    Done,
    Full,     ///< no memory, or no record
    Crowded,  ///< as many entries as there may be
    Busy,     ///< Mode::Try would have had to wait
};

class PageRuns {
  public:
    explicit PageRuns(const Segment &segment) : segment_(segment) {}

    /// Finds `entry.pages` free pages in a row and publishes `entry` for them; `first` is the
    /// first one's index.
    Room allocate(PageEntry entry, Mode mode, std::uint32_t &first) const;
    /// Frees the slab or run that starts at page `first`.
    void release(std::uint32_t first) const;
    /// Pages that slabs and runs have.
    std::uint32_t used() const;

  private:
    std::uint32_t find(std::uint32_t count) const;
    void mark(std::uint32_t first, std::uint32_t count, bool used) const;
    void rebuild() const;

    const Segment &segment_;
};

}  // namespace offgil::store::managed
