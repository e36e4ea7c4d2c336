{
  "targets": [
    {
      "target_name": "torchkeep",
      "type": "none",
      "actions": [
        {
          "action_name": "build_with_cmake_js",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/Release/torchkeep.node"],
          "action": ["node", "scripts/build-addon.mjs"]
        }
      ]
    }
  ]
}
