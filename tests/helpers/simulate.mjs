// Reads simulations, a JSON array in each line of standard input; for each line writes one with their outcomes: "Allowed",
// a kind of denial, or the request's errors.
import { createInterface } from "node:readline";
import { runSimulation } from "@cloud-copilot/iam-simulate";

for await (const line of createInterface({ input: process.stdin })) {
  const answer = [];
  for (const simulation of JSON.parse(line)) {
    const result = await runSimulation(simulation, {});
    answer.push(result.resultType === "error" ? `Error: ${JSON.stringify(result.errors)}` : result.overallResult ?? result.analysis?.result);
  }
  process.stdout.write(`${JSON.stringify({ answer })}\n`);
}
