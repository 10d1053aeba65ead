#include <gtest/gtest.h>

#include "base/crypto.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  atl::crypto_init();
  return RUN_ALL_TESTS();
}
