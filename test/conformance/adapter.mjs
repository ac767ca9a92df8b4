// What the suite runs as "the client": hands the address of its fake service to the process that holds the gateways,
// and reports what came of it. Plain JavaScript, because the suite starts some thirty of these at once.
const response = await fetch(process.env.CONFORMANCE_DESK, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({
    serverUrl: process.argv[2],
    scenario: process.env.MCP_CONFORMANCE_SCENARIO,
    protocolVersion: process.env.MCP_CONFORMANCE_PROTOCOL_VERSION,
    context: JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}'),
  }),
});
process.stderr.write(`${await response.text()}\n`);
process.exitCode = response.ok ? 0 : 1;
