/**
 * Wheels of the public Python index that setup has met before, by file name, with what they must hash to. A wheel that pip fetches under one of these
 * names with another hash is refused; a wheel of any other name (a mirror's, an own build) is used and named as unknown.
 */

/** What is known of a wheel before it is downloaded. */
export interface KnownWheel {
  readonly sha256: string
  readonly sizeBytes: number
}

/** Linux x86-64; the plain wheels of the public index are CUDA 13 builds. */
export const knownWheels: Readonly<Record<string, KnownWheel>> = {
  'torch-2.13.0-cp310-cp310-manylinux_2_28_x86_64.whl': {
    sha256: 'c78b7b4d04461855a764cf01bae9a462bb88bc93defcfa11235cbc8fdf3e12c4',
    sizeBytes: 526_555_154,
  },
  'torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl': {
    sha256: '60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7',
    sizeBytes: 526_574_961,
  },
  'torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl': {
    sha256: '796633c4cdf0fe2cdced72d8f88f22e73dbcfce83132763162f6d4bff13b820b',
    sizeBytes: 526_605_292,
  },
  'torch-2.13.0-cp313-cp313-manylinux_2_28_x86_64.whl': {
    sha256: 'a3a9a21312872af8a26950b2c15680335a386a1f56ed03e780653d78b9607e9e',
    sizeBytes: 526_602_329,
  },
  'torch-2.13.0-cp314-cp314-manylinux_2_28_x86_64.whl': {
    sha256: '49f1ea385c754e54919408a9bb3b5a72b0b755bbe2c916c1d6f70afbec4908a2',
    sizeBytes: 526_614_507,
  },
  'torch-2.11.0-cp310-cp310-manylinux_2_28_x86_64.whl': {
    sha256: '1b32ceda909818a03b112006709b02be1877240c31750a8d9c6b7bf5f2d8a6e5',
    sizeBytes: 530_589_207,
  },
  'torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl': {
    sha256: '7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a',
    sizeBytes: 530_604_548,
  },
  'torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl': {
    sha256: '0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756',
    sizeBytes: 530_712_279,
  },
  'torch-2.11.0-cp313-cp313-manylinux_2_28_x86_64.whl': {
    sha256: 'cc89b9b173d9adfab59fd227f0ab5e5516d9a52b658ae41d64e59d2e55a418db',
    sizeBytes: 530_711_509,
  },
  'torch-2.11.0-cp314-cp314-manylinux_2_28_x86_64.whl': {
    sha256: '4dc8b3809469b6c30b411bb8c4cad3828efd26236153d9beb6a3ec500f211a60',
    sizeBytes: 530_716_756,
  },
  'nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl': {
    sha256: '4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8',
    sizeBytes: 10_715_597,
  },
  'nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl': {
    sha256: '7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548',
    sizeBytes: 2_243_632,
  },
}
