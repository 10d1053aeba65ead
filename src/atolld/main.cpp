#include "atolld/commands.h"

int main(int argc, char** argv) {
  return atl::atolld::atolld_main(argc, argv);
}
