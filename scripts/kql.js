// Every query of infra/ before Microsoft's own parser of KQL: syntax, columns and types, over the
// tables of Application Insights. Usage: node kql.js FOLDER-OF-NODE_MODULES
"use strict";
const fs = require("fs");
const path = require("path");

const [modules] = process.argv.slice(2);
const library = path.resolve(modules, "@kusto/language-service-next");
require(path.join(library, "bridge.min.js"));
require(path.join(library, "Kusto.Language.Bridge.min.js"));

// The columns that our queries may use, as "Application Insights telemetry data model" has them.
const common = "timestamp:datetime, operation_Name:string, operation_Id:string, operation_ParentId:string, "
    + "cloud_RoleName:string, cloud_RoleInstance:string, customDimensions:dynamic, itemCount:int";
const tables = {
    customMetrics: "name:string, value:real, valueCount:int, valueSum:real, valueMin:real, valueMax:real, valueStdDev:real",
    requests: "id:string, name:string, url:string, success:string, resultCode:string, duration:real, customMeasurements:dynamic",
    dependencies: "id:string, target:string, type:string, name:string, data:string, success:string, resultCode:string, duration:real, customMeasurements:dynamic",
    exceptions: "problemId:string, type:string, outerMessage:string, innermostMessage:string, details:dynamic, severityLevel:int",
    traces: "message:string, severityLevel:int",
};
const prelude = Object.entries(tables)
    .map(([name, columns]) => `let ${name} = datatable(${common}, ${columns})[];\n`).join("");

function faults(query) {
    const found = Kusto.Language.KustoCode.ParseAndAnalyze(prelude + query).GetDiagnostics();
    return Bridge.toArray(found).filter((one) => one.Severity !== "Suggestion")
        .map((one) => `${one.Code} at ${one.Start - prelude.length}: ${one.Message}`);
}

function queries() {
    const found = {};
    for (const file of fs.readdirSync("infra/queries")) {
        found[`infra/queries/${file}`] = fs.readFileSync(`infra/queries/${file}`, "utf8");
    }
    for (const item of JSON.parse(fs.readFileSync("infra/workbook.json", "utf8")).items) {
        if (item.content && item.content.query) found[`workbook: ${item.content.title}`] = item.content.query;
    }
    return found;
}

// The check can fail.
for (const bad of ["customMetrics | where nam == 1", "customMetrics | summarize last = max(timestamp)",
    "customMetrics | where name = 'x'", "customEvents | take 1"]) {
    if (faults(bad).length === 0) throw new Error(`nothing is wrong with: ${bad}`);
}
let wrong = 0;
for (const [place, query] of Object.entries(queries())) {
    for (const fault of faults(query)) {
        console.log(`${place}: ${fault}`);
        wrong += 1;
    }
}
console.log(`${Object.keys(queries()).length} queries, ${wrong} faults`);
process.exit(wrong === 0 ? 0 : 1);
